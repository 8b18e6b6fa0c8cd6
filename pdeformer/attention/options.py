"""The options of evolved attention, their checks, and the methods that are exact for them.

    class               own fields                                           inherits            keyword arguments of
    EvolutionOptions    steps, base, window, renormalize, order, features    -                   (all of them)
    SpaceOptions        target, axis                                         -                   (all but decode)
    DecodeOptions       dt, segment_ids, scale, method, feature_key          EvolutionOptions    pde_attention_decode
    WeightsOptions      is_causal, …                                          the two above       pde_attention_weights
    AttentionOptions    dropout, dropout_key                                 WeightsOptions      pde_attention
    PDEAttentionConfig  kind, share, … (`pdeformer.layers`)                  the first two       PDEAttention

`keywords.keyword_options` turns the fields of such a class into the keyword arguments of a function.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from pdeformer.attention.types import Precision
from pdeformer.pde import PDE, REACTIONS, AdvectionDiffusion, Coefficient, Diffusion, ReactionDiffusion, Wave
from pdeformer.stencil.arguments import check_number, check_random_key, resolve_causal, static_number

Target = Literal["weights", "logits"]
Axis = Literal["key", "query", "both"]
Base = Literal["softmax", "performer"]
Renormalize = Literal["l1", "none"]
Method = Literal["auto", "materialized", "folded", "tiled"]
Order = Literal["strang", "euler", "reaction_first"]
OptionsT = TypeVar("OptionsT", bound="EvolutionOptions")


@dataclass(frozen=True, kw_only=True)
class EvolutionOptions:
    """How the base attention is formed and evolved."""

    steps: int
    """Number of explicit steps, >= 0 and static; 0 is plain attention."""
    base: Base = "softmax"
    """Attention before the evolution: "softmax", or "performer" (positive random features at linear cost)."""
    window: int | None = None
    """Attend only to the keys with |t + S − T − s| <= window; the evolution may widen this band by `steps`.
    None means all keys."""
    renormalize: Renormalize | None = None
    """"l1" divides every row by its sum after the last step, "none" does not. None means "l1" for a reaction on
    weights, else "none": along the keys linear equations conserve the sum, 1. Dropout, and advection along the queries,
    do not."""
    order: Order = "strang"
    """How a step of ReactionDiffusion combines reaction and diffusion. "strang": exact flow of the reaction, split;
    "euler": R = βA(1 − A) and diffusion in one explicit step; "reaction_first": one Euler reaction over the whole
    pseudo-time, then the diffusion steps. The last one, and a single "euler" step, cost two plain attentions."""
    features: int | None = None
    """Number of random features of base "performer"; 4 times the head width is a start."""
    precision: Precision | None = None
    """Precision of products of float32 on TPU and GPU: "highest", "high" or "default", one pass of bfloat16 or TF32,
    which is faster and has errors of 4e-3 of the largest output. None means "highest" for float32, and "default" if
    query, key and value are shorter."""


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """What evolves, and along which axis."""

    target: Target = "weights"
    """What evolves: "weights" (after the softmax) or "logits" (before it)."""
    axis: Axis = "key"
    """Space axis: "key" (every row), "query" (every column), or "both" (key steps, then query steps)."""


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(EvolutionOptions):
    """The options of `pde_attention_decode`."""

    dt: Coefficient = 1.0
    """Length of a step in pseudo-time, a scalar."""
    segment_ids: Shaped[Array | np.ndarray, "..."] | list | None = None
    """int or bool (B, T); 0 is padding, and a query attends only to keys of its own positive id. Tokens of one id on
    both sides of a hole attend to each other, but no edge of the path joins them. None means one segment."""
    scale: float | Shaped[Array | np.ndarray, ""] | None = None
    """Factor of the scores; None means 1/√H."""
    method: Method = "auto"
    """"materialized" is the definition; "folded" the exact rewrite around plain attention, O(T) memory; "tiled" the
    definition by blocks of rows; "auto" selects the fastest exact method (`attention.options.exact_methods`)."""
    feature_key: PRNGKeyArray | None = None
    """Random key of the features of base "performer"."""


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(SpaceOptions, DecodeOptions):
    """The options of `pde_attention_weights`."""

    is_causal: bool = False
    """Query t attends only to the keys s <= t + S − T. Needs axis "key" on weights."""
    causal: bool | None = None
    """Another name of `is_causal`, the one that `evolve` uses; None means that it is left out."""
    key_segment_ids: Shaped[Array | np.ndarray, "..."] | list | None = None
    """int or bool (B, S), segment ids of the keys if they are other tokens than the queries, as padded keys are in
    cross-attention: `jnp.arange(S) < lengths[:, None]`. `segment_ids` are then those of the queries, and None means 1.
    Needs axis "key". None means `segment_ids`."""

    def __post_init__(self) -> None:
        """Join the two names of `is_causal`."""
        value = resolve_causal(is_causal=self.is_causal, causal=self.causal)
        object.__setattr__(self, "is_causal", value)


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(WeightsOptions):
    """The options of `pde_attention`."""

    dropout: float | Shaped[Array | np.ndarray, ""] = 0.0
    """Probability in [0, 1) of dropping a weight: of A(0), or of the softmax of evolved logits."""
    dropout_key: PRNGKeyArray | None = None
    """Random key, needed if dropout > 0."""

    def __post_init__(self) -> None:
        """Join the two names of `is_causal`, and convert the rate of the dropout to a Python number."""
        super().__post_init__()
        object.__setattr__(self, "dropout", static_number("dropout", self.dropout))


def split_arrays(options: OptionsT) -> tuple[OptionsT, dict[str, Any]]:
    """Split options into the static ones, hashable with None in place of arrays, and the arrays by name."""
    arrays = {name: x for name, x in vars(options).items() if isinstance(x, jax.Array | np.ndarray)}
    scale = vars(options).get("scale")
    if (
        scale is not None
    ):  # as an array, because the program would otherwise be compiled again for another number
        arrays["scale"] = jnp.asarray(scale)
    return replace(options, **dict.fromkeys(arrays)), arrays


def exact_methods(pde: Any, options: AttentionOptions) -> tuple[str, ...]:
    """Return the methods that are exact for these options; "auto" selects the first one.

    folded        linear equations, and one Euler reaction on softmax weights, first or in a single joint step
    tiled         independent rows: axis "key"
    materialized  all options: the definition
    """
    plain = pde is None or options.steps == 0
    euler = options.order == "reaction_first" or (options.order == "euler" and options.steps == 1)
    powers = euler and options.target == "weights" and options.base == "softmax" and not options.dropout
    folded = ("folded",) if plain or powers or not isinstance(pde, ReactionDiffusion) else ()
    tiled = ("tiled",) if plain or options.axis == "key" else ()
    return (*folded, *tiled, "materialized")


def select_method(pde: Any, options: AttentionOptions) -> str:
    """Return the method to run.

    Raises:
        ValueError: `options.method` is not exact for these options.
    """
    exact = exact_methods(pde, options)
    if options.method == "auto":
        return exact[0]
    if options.method not in exact:
        raise ValueError(
            f"method {options.method!r} does not serve {type(pde).__name__} on {options.target}, "
            f"axis={options.axis!r}, order={options.order!r}, base={options.base!r}; use "
            f"{' or '.join(map(repr, exact))} or 'auto'."
        )
    return options.method


def check_options(options: EvolutionOptions) -> None:
    """Check steps, window and the options of random features, without their key.

    Raises:
        ValueError: A value is out of range, or an option belongs to the other base.
    """
    steps = options.steps
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    check_window(options.window)
    if isinstance(options, DecodeOptions) and options.scale is not None:
        check_number("scale", options.scale, scalar=True)
    if options.base == "performer":
        _check_performer(options)
    elif options.features is not None or getattr(options, "feature_key", None) is not None:
        raise ValueError(
            "features and feature_key belong to base 'performer', got base='softmax'; drop them or set the base."
        )


def check_window(window: Any) -> None:
    """Check that a window is None or an integer >= 0.

    Raises:
        ValueError: It is not.
    """
    if window is None:
        return
    if not isinstance(window, int | np.integer) or isinstance(window, bool) or window < 0:
        raise ValueError(f"window must be a Python integer >= 0 (tokens to either side), got {window!r}.")


def _check_performer(options: EvolutionOptions) -> None:
    features = options.features
    if not isinstance(features, int | np.integer) or isinstance(features, bool) or features < 1:
        raise ValueError(
            f"base 'performer' needs features >= 1 and feature_key, got features={features!r}; 4 H features "
            "and jax.random.key(0) are a start."
        )
    if isinstance(options, SpaceOptions) and options.target == "logits":
        raise ValueError(
            "base 'performer' forms no logits that could evolve, got target='logits'; use target='weights' or "
            "base='softmax'."
        )
    if options.window is not None:
        raise ValueError(
            f"window is a band of the softmax, got window={options.window} with base='performer'; use "
            "base='softmax'."
        )
    if isinstance(options, AttentionOptions) and options.dropout:
        raise ValueError(
            f"dropout acts on softmax weights, got {options.dropout} with base='performer'; use 0."
        )


def check_feature_key(options: AttentionOptions) -> None:
    """Check that base "performer" has a random key.

    Raises:
        ValueError: The key is missing, or no random key.
    """
    if options.base == "performer" and options.feature_key is None:
        raise ValueError(
            f"base 'performer' needs features >= 1 and feature_key, got features={options.features}, "
            "feature_key=None; jax.random.key(0) is a start."
        )
    if options.base == "performer":
        check_random_key("feature_key", options.feature_key)


def check_equation(pde: Any) -> None:
    """Check that `pde` is an equation or None.

    Raises:
        ValueError: It is not.
    """
    if pde is not None and not isinstance(pde, Diffusion | Wave | ReactionDiffusion | AdvectionDiffusion):
        raise ValueError(
            f"pde must be Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion or None, got {pde!r}; make one, as "
            "Diffusion(0.1)."
        )


def check_meaning(pde: Any, options: AttentionOptions, *, same_tokens: bool = True) -> None:
    """Check that the equation and the options have a meaning together.

    `same_tokens` says that queries and keys are the same tokens.

    Raises:
        ValueError: The combination has no meaning; the text says what to use instead.
    """
    target, axis, order = options.target, options.axis, options.order
    check_equation(pde)
    reacts = isinstance(pde, ReactionDiffusion)
    if options.is_causal and (axis != "key" or target != "weights"):
        raise ValueError(
            "causal attention evolves only along the keys, on weights (any other form shows a query its future), "
            f"got target={target!r}, axis={axis!r}; use target='weights', axis='key'."
        )
    if not same_tokens and axis != "key":
        raise ValueError(
            f"with other queries than keys (T != S) only axis='key' has a path of tokens, got axis={axis!r}; "
            "use axis='key'."
        )
    if reacts and pde.reaction not in REACTIONS:
        raise ValueError(f"reaction must be one of {', '.join(REACTIONS)}, got {pde.reaction!r}.")
    if reacts and axis != "key":
        raise ValueError(
            f"a reaction acts on the distribution of one query, got axis={axis!r}; use axis='key', or Diffusion, "
            "Wave or AdvectionDiffusion."
        )
    if reacts and target == "logits" and pde.reaction == "fisher":
        raise ValueError(
            "the 'fisher' reaction needs values >= 0, which logits are not, got target='logits'; use "
            "reaction='allen_cahn', or target='weights'."
        )
    if order != "strang" and not reacts:
        raise ValueError(
            f"order is about a reaction and a diffusion, got {order!r} with {type(pde).__name__}; drop it."
        )


def check_coefficients(pde: PDE, options: AttentionOptions, *, heads: int) -> None:
    """Check the shape of concrete coefficients and the stability of a step.

    Raises:
        ValueError: A coefficient has another shape than (), (N,) or (steps, N), or the step is unstable.
    """
    pde.check_numbers(options.dt)
    for name, value in pde.coefficients().items():
        if jnp.shape(value) not in ((), (heads,), (options.steps, heads)):
            raise ValueError(
                f"{name} must be a scalar, one value per head, ({heads},), or per step and head, "
                f"({options.steps}, {heads}), got shape {jnp.shape(value)}."
            )
    if jnp.ndim(options.dt) != 0:
        raise ValueError(f"dt must be a scalar, got shape {jnp.shape(options.dt)}; scale the coefficients.")
    pde.check(options.dt)
