"""PDE attention with learned coefficients, and its choice as a value that a command line can fill in.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width, L layers
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from pdeformer.attention import options as attention_options
from pdeformer.attention import pde_attention
from pdeformer.layers import constraints
from pdeformer.layers.stable_stencil import Segments
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, Reaction, ReactionDiffusion, Wave

Kind = Literal["none", "diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
Share = Literal["head", "layer", "step"]
OWNERS: dict[str, tuple[str, ...]] = {
    "alpha": ("diffusion", "reaction-diffusion", "advection-diffusion"),
    "beta": ("reaction-diffusion", "advection-diffusion"),
    "speed": ("wave",),
    "reaction": ("reaction-diffusion",),
    "order": ("reaction-diffusion",),
}


@dataclass(frozen=True)
class PDEAttentionConfig:
    """Which equation evolves the attention, and how; an option that its kind does not have is refused."""

    kind: Kind = "none"
    """none: plain attention; else the equation that its weights or logits obey in pseudo-time."""
    steps: int = 4
    """Explicit steps, each of pseudo-time 1; 0 is plain attention."""
    target: attention_options.Target = "weights"
    """weights: after the softmax; logits: before it."""
    axis: attention_options.Axis = "key"
    """Space: along the keys of a query, along the queries of a key, or first one and then the other."""
    share: Share = "head"
    """head: one coefficient per head; layer: one for all heads; step: one per step and head."""
    learned: bool = True
    """Learn the coefficients, kept in the stable set; else they keep their initial values."""
    alpha: float | None = None
    """Initial diffusivity, up to 1/2 (default 0.10)."""
    beta: float | None = None
    """Initial drift (0.03; > 0 moves weight to earlier keys) or growth of the reaction (0.02; > 0 spreads the
    rows, < 0 sharpens them, and so it stays)."""
    speed: float | None = None
    """wave: initial speed, up to 1 (0.15)."""
    reaction: Reaction = "fisher"
    """reaction-diffusion: fisher, u (1 - u), on weights; allen_cahn, u (1 - u²), on weights or logits."""
    order: attention_options.Order = "strang"
    """reaction-diffusion: exact reaction split from diffusion, both in one Euler step, or one Euler reaction
    first, which costs two plain attentions."""
    renormalize: attention_options.Renormalize | None = None
    """Divide a row by its sum after the last step (l1); None: for a reaction on weights only."""
    window: int | None = None
    """Attend to this many tokens on either side; the evolution may widen it by `steps`."""
    base: attention_options.Base = "softmax"
    """softmax, or performer: positive random features at linear cost."""
    features: int | None = None
    """performer: number of random features; 4 times the head width is a start."""
    feature_seed: int = 0
    """performer: seed of the random features."""

    def __post_init__(self):
        for name, words in (("kind", get_args(Kind)), ("share", get_args(Share))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}.")
        self._check_owners()
        if self.kind != "none":
            self.check()
            how = {"order": self.order, "steps": self.steps}
            constraints.check_initial(self.initial(), **how, learned=self.learned)

    def _check_owners(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            owners = OWNERS.get(field.name, get_args(Kind)[1:])
            if field.name != "kind" and value != field.default and self.kind not in owners:
                raise ValueError(
                    f"{field.name} belongs to kind {' or '.join(owners)}, got {field.name}={value} with kind "
                    f"{self.kind!r}; drop it or set the kind."
                )
        if self.feature_seed and self.base != "performer":
            raise ValueError(
                f"feature_seed belongs to base 'performer', got {self.feature_seed} with base {self.base!r}; "
                f"drop it or set the base."
            )
        if self.share == "step" and (self.steps == 0 or not self.learned):
            raise ValueError(
                f"share='step' learns one coefficient for each of one or more steps, got steps={self.steps}, "
                f"learned={self.learned}; use share='head'."
            )

    def initial(self) -> PDE:
        """The equation with its initial coefficients. Raises ValueError for kind "none"."""
        alpha = 0.10 if self.alpha is None else self.alpha
        beta = {"reaction-diffusion": 0.02, "advection-diffusion": 0.03}.get(self.kind, 0.0)
        beta = beta if self.beta is None else self.beta
        if self.kind == "diffusion":
            return Diffusion(alpha)
        if self.kind == "wave":
            return Wave(0.15 if self.speed is None else self.speed)
        if self.kind == "reaction-diffusion":
            return ReactionDiffusion(alpha, beta, self.reaction)
        if self.kind == "advection-diffusion":
            return AdvectionDiffusion(alpha, beta)
        raise ValueError("kind 'none' has no equation, it is plain attention; use dot_product_attention.")

    def check(self, *, is_causal: bool = False, dropout: float = 0.0) -> None:
        """Raises ValueError if this choice does not serve causal rows, or dropout, where that is asked for."""
        if self.kind == "none":
            return
        # the seed stands for its key: a choice makes no array
        seed = self.feature_seed if self.base == "performer" else None
        chosen = self.options(is_causal=is_causal, dropout=dropout, feature_key=seed)
        attention_options.check_choices(chosen)
        initial = self.initial()
        attention_options.check_meaning(initial, chosen)
        if not isinstance(initial, ReactionDiffusion):
            return
        if self.target == "logits" and (initial.beta < 0 or self.order != "strang"):
            raise ValueError(
                f"logits leave [-1, 1], where only the exact flow of a reaction with beta > 0 is stable, got "
                f"beta={initial.beta}, order={self.order!r}; use those, or target='weights'."
            )
        if dropout and self.target == "weights" and (initial.beta < 0 or self.order != "strang"):
            raise ValueError(
                f"attention dropout lifts weights above 1, where only the exact flow of a reaction with beta > 0 is "
                f"stable, got dropout={dropout}, beta={initial.beta}, order={self.order!r}; use dropout 0, or "
                f"beta > 0 and order='strang'."
            )

    def options(self, **call: Any) -> attention_options.Options:
        """This choice as `pde_attention` takes it, with what the call decides."""
        names = ("steps", "target", "axis", "base", "window", "renormalize", "order", "features")
        return attention_options.Options(**{name: getattr(self, name) for name in names}, **call)

    def build(self, heads: int) -> "PDEAttention | None":
        """The attention for `heads` query heads; None is plain attention."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        return None if self.kind == "none" else PDEAttention(heads, **options)


class PDEAttention(nnx.Module):
    """Attention whose weights or logits a PDE evolves; `pdeformer.attention.pde_attention` with learned coefficients.

    Parameters are free real numbers that are mapped into the stable set (`layers.coefficients`), so that no
    optimizer step can make the evolution unstable: α = 1/2 σ(a), c = σ(a), 2α + |β| ≤ 1, a bounded growth.

    heads: N query heads. kind: the equation, a word of `PDEAttentionConfig.kind` but "none".
    options: the other fields of `PDEAttentionConfig`, which documents and checks them.
    [Zhang & Zhou, "Continuous-Time Attention", 2025]
    """

    def __init__(self, heads: int, *, kind: str = "diffusion", **options):
        self.choice = PDEAttentionConfig(kind, **options)  # pyright: ignore[reportArgumentType]  checked there
        initial, how = self.choice.initial(), {"order": self.choice.order, "steps": self.choice.steps}
        shape = {"head": (heads,), "layer": (), "step": (self.choice.steps, heads)}[self.choice.share]
        numbers = constraints.unconstrain(initial, **how) if self.choice.learned else {}
        self.free = nnx.Dict(
            {name: nnx.Param(jnp.full(shape, value, float)) for name, value in numbers.items()}
        )

    def pde(self) -> PDE:
        """The equation with its present coefficients: floats if they are not learned, else arrays.

        Of shape (N,), () or (steps, N) for share "head", "layer" or "step"; `(L, ...)` stacked over L blocks.
        """
        choice, initial = self.choice, self.choice.initial()
        if not choice.learned:
            return initial
        numbers = {name: value[...] for name, value in self.free.items()}
        return constraints.constrain(initial, numbers, order=choice.order, steps=choice.steps)

    def __call__(
        self,
        query: Float[Array, "b t n h"],
        key: Float[Array, "b s k h"],
        value: Float[Array, "b s k h"],
        *,
        segment_ids: Segments | None = None,
        is_causal: bool = False,
        dropout: float = 0.0,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b t n h"]:
        """The output of `pde_attention` with the present coefficients; arguments and errors are those.

        Raises ValueError, too, for dropout on weights whose reaction is not bounded above 1.
        """
        choice = self.choice
        choice.check(is_causal=is_causal, dropout=dropout)
        feature_key = jax.random.key(choice.feature_seed) if choice.base == "performer" else None
        chosen = choice.options(
            is_causal=is_causal, dropout=dropout, dropout_key=dropout_key, feature_key=feature_key
        )
        return pde_attention(query, key, value, self.pde(), segment_ids=segment_ids, **chosen._asdict())
