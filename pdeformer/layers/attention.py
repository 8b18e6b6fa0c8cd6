"""PDE attention with learned coefficients, and its configuration, which a command line can set.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width, L layers
"""

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from pdeformer.attention import pde_attention
from pdeformer.attention.keywords import check_words, keyword_options
from pdeformer.attention.options import (
    AttentionOptions,
    EvolutionOptions,
    SpaceOptions,
    check_meaning,
    check_options,
)
from pdeformer.layers import constraints
from pdeformer.layers.stable_stencil import Segments
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, Reaction, ReactionDiffusion, Wave

P = ParamSpec("P")
Kind = Literal["none", "diffusion", "wave", "reaction-diffusion", "advection-diffusion"]
Share = Literal["head", "layer", "step"]
OWNERS: dict[str, tuple[str, ...]] = {  # the kinds that have an option; every kind has the other options
    "alpha": ("diffusion", "reaction-diffusion", "advection-diffusion"),
    "beta": ("reaction-diffusion", "advection-diffusion"),
    "speed": ("wave",),
    "reaction": ("reaction-diffusion",),
    "order": ("reaction-diffusion",),
}


@dataclass(frozen=True)
class PDEAttentionConfig(SpaceOptions, EvolutionOptions):
    """Which equation evolves the attention, and how; every option must belong to the kind of equation.

    The fields of `EvolutionOptions` and `SpaceOptions` are options of `pde_attention` as well.

    Raises:
        ValueError: Options do not fit together, or initial coefficients are outside the stable set.

    Example:
        >>> from pdeformer.layers import PDEAttentionConfig
        >>> PDEAttentionConfig("diffusion", steps=2).initial_pde()
        Diffusion(alpha=0.1)
    """

    kind: Kind = "none"
    """The equation that weights or logits obey in pseudo-time; "none" is plain attention."""
    _: KW_ONLY
    steps: int = 4
    """Number of explicit steps, each of pseudo-time 1; 0 is plain attention."""
    share: Share = "head"
    """"head": one coefficient per head; "layer": one for all heads; "step": one per step and head."""
    learned: bool = True
    """Learn the coefficients, which stay in the stable set; otherwise they keep their initial values."""
    alpha: float | None = None
    """Initial diffusivity, up to 1/2. None means 0.10."""
    beta: float | None = None
    """Initial drift, where beta > 0 moves weight to earlier keys (None means 0.03), or growth of the reaction, where
    beta > 0 spreads the rows, beta < 0 sharpens them, and training keeps the sign (None means 0.02)."""
    speed: float | None = None
    """wave: initial speed, up to 1. None means 0.15."""
    reaction: Reaction = "fisher"
    """reaction-diffusion: "fisher", u (1 - u), on weights; "allen_cahn", u (1 - u²), on weights or logits."""
    feature_seed: int = 0
    """Seed of the random features of base "performer"."""

    def __post_init__(self) -> None:
        """Refuse options that do not fit together."""
        check_words(type(self), vars(self))
        self._check_owners()
        if self.kind != "none":
            self.check()
            options: dict[str, Any] = {"order": self.order, "steps": self.steps}
            constraints.check_initial(self.initial_pde(), **options, learned=self.learned)

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

    def initial_pde(self) -> PDE:
        """Return the equation with its initial coefficients.

        Raises:
            ValueError: The kind is "none".
        """
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

    def initial(self) -> PDE:
        """Return `initial_pde()`, of which this is the deprecated name."""
        warnings.warn("PDEAttentionConfig.initial is now initial_pde", DeprecationWarning, stacklevel=2)
        return self.initial_pde()

    def check(self, *, is_causal: bool = False, dropout: float = 0.0) -> None:
        """Check that these options allow causal rows or dropout. The check makes no array.

        Args:
            is_causal: The attention is causal.
            dropout: Probability of dropping a weight.

        Raises:
            ValueError: The options do not allow it.
        """
        if self.kind == "none":
            return
        options = self.options(is_causal=is_causal, dropout=dropout)
        check_options(options)
        initial = self.initial_pde()
        check_meaning(initial, options)
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

    def options(self, **call: Any) -> AttentionOptions:
        """Return the options of `pde_attention`: those of this configuration, and those of one call."""
        names = {field.name for options in (EvolutionOptions, SpaceOptions) for field in fields(options)}
        return AttentionOptions(**{name: getattr(self, name) for name in names}, **call)

    def build(self, heads: int) -> "PDEAttention | None":
        """Build the attention.

        Args:
            heads: Number of query heads N.

        Returns:
            The layer, or None for kind "none", which is plain attention.
        """
        return None if self.kind == "none" else PDEAttention(heads, **vars(self))


def _layer_signature(options: Callable[P, Any]):
    def function(self: Any, heads: int, *args: P.args, **options: P.kwargs) -> None: ...

    return function


class PDEAttention(nnx.Module):
    """`pde_attention` with learned coefficients.

    Its parameters are unconstrained real numbers that are mapped into the stable set (`layers.constraints`), so that
    no optimizer step can make the evolution unstable: α = 1/2 σ(a), c = σ(a), 2α + |β| ≤ 1, a bounded growth. The
    keyword arguments are the fields of `PDEAttentionConfig`; here `kind` is "diffusion" by default.

    Attributes:
        config: The options, a `PDEAttentionConfig`.
        free: The unconstrained parameters by the name of their coefficient; empty if they are not learned.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import PDEAttention
        >>> layer = PDEAttention(heads=2, kind="wave", steps=3)
        >>> layer(*[jnp.ones((1, 5, 2, 4))] * 3, is_causal=True).shape
        (1, 5, 2, 4)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """

    @keyword_options(PDEAttentionConfig, _layer_signature, kind="diffusion")
    def __init__(self, heads: int, config: PDEAttentionConfig) -> None:
        """Build the layer; its parameters start at the initial coefficients.

        Args:
            heads: Number of query heads N.
            config: The keyword arguments, fields of `PDEAttentionConfig`.

        Raises:
            ValueError: As in `PDEAttentionConfig`, or kind "none".
            TypeError: An unknown keyword argument.
        """
        self.config = config
        initial, options = config.initial_pde(), {"order": config.order, "steps": config.steps}
        shape = {"head": (heads,), "layer": (), "step": (config.steps, heads)}[config.share]
        parameters = constraints.unconstrain(initial, **options) if config.learned else {}
        self.free = nnx.Dict(
            {name: nnx.Param(jnp.full(shape, value, float)) for name, value in parameters.items()}
        )

    @property
    def choice(self) -> PDEAttentionConfig:
        """Deprecated name of `config`."""
        warnings.warn("PDEAttention.choice is now config", DeprecationWarning, stacklevel=2)
        return self.config

    def pde(self) -> PDE:
        """Return the equation with its current coefficients.

        Returns:
            Floats if the coefficients are not learned, else arrays of shape (N,), () or (steps, N) for share "head",
            "layer" or "step"; stacked over L blocks, `(L, ...)`.
        """
        config, initial = self.config, self.config.initial_pde()
        if not config.learned:
            return initial
        parameters = {name: value[...] for name, value in self.free.items()}
        return constraints.constrain(initial, parameters, order=config.order, steps=config.steps)

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
        """Attend with the current coefficients; arguments are those of `pde_attention`.

        Args:
            query: Shape (B, T, N, H).
            key: Shape (B, S, K, H).
            value: Shape (B, S, K, H).
            segment_ids: int32 (B, T), needs T = S; 0 is padding.
            is_causal: Query t attends only to the keys s <= t + S − T.
            dropout: Probability in [0, 1) of dropping a weight.
            dropout_key: Random key, needed if dropout > 0.

        Returns:
            Shape (B, T, N, H), dtype of `value`.

        Raises:
            ValueError: As in `pde_attention`, or dropout on weights whose reaction is unstable above 1.
        """
        config = self.config
        config.check(is_causal=is_causal, dropout=dropout)
        feature_key = jax.random.key(config.feature_seed) if config.base == "performer" else None
        options = config.options(
            segment_ids=segment_ids,
            is_causal=is_causal,
            dropout=dropout,
            dropout_key=dropout_key,
            feature_key=feature_key,
        )
        return pde_attention(query, key, value, self.pde(), **vars(options))
