"""Which combinations of equation, target, axis and base have a meaning, and which methods serve them."""

from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from pdeformer.pde import PDE, REACTIONS, AdvectionDiffusion, Coefficient, Diffusion, ReactionDiffusion, Wave

Target = Literal["weights", "logits"]
Axis = Literal["key", "query", "both"]
Base = Literal["softmax", "performer"]
Renormalize = Literal["l1", "none"]
Method = Literal["auto", "materialized", "folded", "tiled"]
Order = Literal["strang", "euler", "reaction_first"]
CHOICES: dict[str, tuple[str, ...]] = {
    "target": get_args(Target),
    "axis": get_args(Axis),
    "base": get_args(Base),
    "method": get_args(Method),
    "order": get_args(Order),
}


class Options(NamedTuple):
    """What a caller of `pde_attention` chooses besides arrays and equation; documented there."""

    steps: Any
    dt: Coefficient = 1.0
    target: str = "weights"
    axis: str = "key"
    is_causal: bool = False
    base: str = "softmax"
    window: Any = None
    scale: float | None = None
    renormalize: str | None = None
    method: str = "auto"
    order: str = "strang"
    features: int | None = None
    feature_key: Any = None
    dropout: float = 0.0
    dropout_key: PRNGKeyArray | None = None


def methods(pde: Any, chosen: Options) -> tuple[str, ...]:
    """The methods that are exact, the one that "auto" takes first.

    folded        linear equations, and one reaction of Euler's on softmax weights, first or in a single joint step
    tiled         whatever leaves the rows apart: axis "key"
    materialized  everything: the definition
    """
    plain = pde is None or chosen.steps == 0
    euler = chosen.order == "reaction_first" or (chosen.order == "euler" and chosen.steps == 1)
    powers = euler and chosen.target == "weights" and chosen.base == "softmax" and not chosen.dropout
    found = ("folded",) if plain or powers or not isinstance(pde, ReactionDiffusion) else ()
    rows = ("tiled",) if plain or chosen.axis == "key" else ()
    return (*found, *rows, "materialized")


def choose(pde: Any, chosen: Options) -> str:
    """The method to run. Raises ValueError if the one asked for does not apply."""
    exact = methods(pde, chosen)
    if chosen.method == "auto":
        return exact[0]
    if chosen.method not in exact:
        raise ValueError(
            f"method {chosen.method!r} does not serve {type(pde).__name__} on {chosen.target}, axis={chosen.axis!r}, "
            f"order={chosen.order!r}, base={chosen.base!r}; use {' or '.join(map(repr, exact))} or 'auto'."
        )
    return chosen.method


def check_choices(chosen: Options) -> None:
    """Raises ValueError for a word that is none of the choices, and for a window, steps or features out of range."""
    for name, words in CHOICES.items():
        if getattr(chosen, name) not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {getattr(chosen, name)!r}.")
    steps, window = chosen.steps, chosen.window
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    if window is not None and (not isinstance(window, int | np.integer) or window < 0):
        raise ValueError(f"window must be a Python integer >= 0 (tokens to either side), got {window!r}.")
    if chosen.renormalize not in (None, *get_args(Renormalize)):
        raise ValueError(
            f"renormalize must be one of l1, none, or None (the default), got {chosen.renormalize!r}."
        )
    if chosen.base == "performer":
        _check_performer(chosen)
    elif chosen.features is not None or chosen.feature_key is not None:
        raise ValueError(
            "features and feature_key belong to base 'performer', got base='softmax'; drop them or set the base."
        )


def _check_performer(chosen: Options) -> None:
    if chosen.features is None or chosen.feature_key is None or chosen.features < 1:
        raise ValueError(
            f"base 'performer' needs features >= 1 and feature_key, got features={chosen.features}, feature_key="
            f"{'None' if chosen.feature_key is None else 'a key'}; 4 H features and jax.random.key(0) are a start."
        )
    if chosen.target == "logits":
        raise ValueError(
            "base 'performer' forms no logits that could evolve, got target='logits'; use target='weights' or "
            "base='softmax'."
        )
    if chosen.window is not None:
        raise ValueError(
            f"window is a band of the softmax, got window={chosen.window} with base='performer'; use base='softmax'."
        )
    if chosen.dropout:
        raise ValueError(
            f"dropout acts on softmax weights, got {chosen.dropout} with base='performer'; use 0."
        )


def check_meaning(pde: Any, chosen: Options, *, same_tokens: bool = True) -> None:
    """Raises ValueError for a combination with no meaning, and says what to use instead."""
    target, axis, order = chosen.target, chosen.axis, chosen.order
    if not isinstance(pde, Diffusion | Wave | ReactionDiffusion | AdvectionDiffusion):
        raise ValueError(
            f"pde must be Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion or None, got {pde!r}."
        )
    reacts = isinstance(pde, ReactionDiffusion)
    if chosen.is_causal and (axis != "key" or target != "weights"):
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


def check_coefficients(pde: PDE, chosen: Options, *, heads: int) -> None:
    """Raises ValueError for coefficients of another shape than (), (N,), (steps, N), or an unstable step."""
    for name, value in pde.coefficients().items():
        if jnp.shape(value) not in ((), (heads,), (chosen.steps, heads)):
            raise ValueError(
                f"{name} must be a scalar, one value per head, ({heads},), or per step and head, "
                f"({chosen.steps}, {heads}), got shape {jnp.shape(value)}."
            )
    if jnp.ndim(chosen.dt) != 0:
        raise ValueError(f"dt must be a scalar, got shape {jnp.shape(chosen.dt)}.")
    pde.check(chosen.dt)
