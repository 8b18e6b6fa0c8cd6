"""Leakage of a causal map: how much an output depends on later inputs, which is exactly 0 if the map is causal."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class TokenSensitivity(NamedTuple):
    """Largest derivatives of the outputs of tokens by the inputs of tokens, from `token_sensitivity`.

    Example:
        >>> import jax.numpy as jnp
        >>> TokenSensitivity(future=jnp.zeros(()), past=jnp.ones(())).future == 0  # a causal map
        Array(True, dtype=bool)
    """

    future: Float[Array, ""]
    """max |∂f_t/∂u_s| over s > t: exactly 0 if no output depends on a later input."""
    past: Float[Array, ""]
    """The same over s ≤ t, which shows that the map depends on its input at all."""


def token_sensitivity(f: Callable[[Array], Array], u: Float[Array, "t d"]) -> TokenSensitivity:
    """Return the largest derivative of an output by a later input, and by an earlier one.

    The full Jacobian (T, V, T, D) is formed, so T should be small: what a map of tokens leaks, it leaks at once.

    Args:
        f: a map of T inputs (T, D) to T outputs (T, V), such as embeddings to logits.
        u: the inputs.

    Returns:
        Both maxima; NaN if a derivative is not finite.

    Raises:
        ValueError: `f` does not return one row for each token.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.diagnostics import token_sensitivity
        >>> causal = token_sensitivity(lambda u: jnp.cumsum(u, axis=0), jnp.ones((4, 2)))
        >>> float(causal.future), float(causal.past)
        (0.0, 1.0)
        >>> float(token_sensitivity(lambda u: u + jnp.roll(u, -1, axis=0), jnp.ones((4, 2))).future)
        1.0
    """
    jacobian = jax.jacrev(f)(u)
    if jacobian.ndim != 4 or jacobian.shape[0] != u.shape[0]:
        raise ValueError(
            f"f maps (T, D) to (T, V), got outputs {jacobian.shape[:-2]} for inputs {u.shape}; drop the batch axis."
        )
    sizes = jnp.max(jnp.abs(jacobian), axis=(1, 3))
    later = jnp.triu(jnp.ones(sizes.shape, bool), k=1)
    is_finite = jnp.all(jnp.isfinite(sizes))
    future, past = (jnp.max(jnp.where(where, sizes, 0), initial=0.0) for where in (later, ~later))
    return TokenSensitivity(*(jnp.where(is_finite, value, jnp.nan) for value in (future, past)))
