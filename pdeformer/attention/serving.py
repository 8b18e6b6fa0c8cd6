"""Which combinations of equation, target, axis and base have a meaning, and which methods serve them."""

from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from pdeformer.pde import PDE, REACTIONS, AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave

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


def methods(
    pde: Any,
    *,
    steps: int,
    target: str,
    axis: str,
    base: str = "softmax",
    order: str = "strang",
    dropout: bool = False,
) -> tuple[str, ...]:
    """The methods that are exact, the one that "auto" takes first.

    folded        linear equations, and one reaction of Euler's on softmax weights, first or in a single joint step
    tiled         whatever leaves the rows apart: axis "key"
    materialized  everything: the definition
    """
    kind = pde if isinstance(pde, type) else type(pde)
    euler = order == "reaction_first" or (order == "euler" and steps == 1)
    powers = euler and target == "weights" and base == "softmax" and not dropout
    found = ("folded",) if kind is not ReactionDiffusion or steps == 0 or powers else ()
    rows = ("tiled",) if axis == "key" or pde is None or steps == 0 else ()
    return (*found, *rows, "materialized")


def check_choices(**chosen: Any) -> None:
    """Raises ValueError for a word that is none of the choices, and for a window, steps or features out of range."""
    for name, words in CHOICES.items():
        if name in chosen and chosen[name] not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {chosen[name]!r}.")
    steps, window, renormalize = chosen["steps"], chosen["window"], chosen["renormalize"]
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    if window is not None and (not isinstance(window, int | np.integer) or window < 0):
        raise ValueError(f"window must be a Python integer >= 0 (tokens to either side), got {window!r}.")
    if renormalize not in (None, *get_args(Renormalize)):
        raise ValueError(f"renormalize must be one of l1, none, or None (the default), got {renormalize!r}.")
    if chosen["base"] == "performer":
        _check_performer(**chosen)
    elif chosen["features"] is not None or chosen["feature_key"] is not None:
        raise ValueError(
            "features and feature_key belong to base 'performer', got base='softmax'; drop them or set the base."
        )


def _check_performer(*, target, window, features, feature_key, dropout, **others) -> None:
    del others
    if features is None or feature_key is None or features < 1:
        raise ValueError(
            f"base 'performer' needs features >= 1 and feature_key, got features={features}, feature_key="
            f"{'None' if feature_key is None else 'a key'}; 4 H features and jax.random.key(0) are a start."
        )
    if target == "logits":
        raise ValueError(
            "base 'performer' forms no logits that could evolve, got target='logits'; use target='weights' or "
            "base='softmax'."
        )
    if window is not None:
        raise ValueError(
            f"window is a band of the softmax, got window={window} with base='performer'; use base='softmax'."
        )
    if dropout:
        raise ValueError(f"dropout acts on softmax weights, got {dropout} with base='performer'; use 0.")


def check_meaning(
    pde: Any, *, target: str, axis: str, order: str, is_causal: bool, same_tokens: bool
) -> None:
    """Raises ValueError for a combination with no meaning, and says what to use instead."""
    if not isinstance(pde, Diffusion | Wave | ReactionDiffusion | AdvectionDiffusion):
        raise ValueError(
            f"pde must be Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion or None, got {pde!r}."
        )
    reacts = isinstance(pde, ReactionDiffusion)
    if is_causal and (axis != "key" or target != "weights"):
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


def check_coefficients(pde: PDE, dt: Any, *, steps: int, heads: int) -> None:
    """Raises ValueError for coefficients of another shape than (), (N,), (steps, N), or an unstable step."""
    for name, value in pde.coefficients().items():
        if jnp.shape(value) not in ((), (heads,), (steps, heads)):
            raise ValueError(
                f"{name} must be a scalar, one value per head, ({heads},), or per step and head, "
                f"({steps}, {heads}), got shape {jnp.shape(value)}."
            )
    if jnp.ndim(dt) != 0:
        raise ValueError(f"dt must be a scalar, got shape {jnp.shape(dt)}.")
    pde.check(dt)


def check_method(method: str, exact: tuple[str, ...], what: str) -> str:
    """The method to run. Raises ValueError if the one asked for does not apply."""
    if method == "auto":
        return exact[0]
    if method not in exact:
        raise ValueError(
            f"method {method!r} does not serve {what}; use {' or '.join(map(repr, exact))} or 'auto'."
        )
    return method
