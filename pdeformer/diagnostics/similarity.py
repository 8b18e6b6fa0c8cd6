"""Measures of two states of one shape `(..., T, D)`, such as the states before and after a layer.

Padding (`segment_ids` 0) is never read. Each returns one float32 (or wider) number per leading index.

    T tokens, D channels
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.diagnostics.hidden_states import Segments, scale_to_one, zero_padding
from pdeformer.stencil.arguments import convert_segment_ids


def relative_change(
    after: Float[Array, "*b t d"], before: Float[Array, "*c s e"], segment_ids: Segments | None = None
) -> Float[Array, "*b"]:
    """Return the relative change ‖after - before‖ / ‖before‖, in Frobenius norms.

    Args:
        after: hidden states `(..., T, D)`, any float; computed in at least float32.
        before: hidden states of the same shape.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        The change per leading index, ≥ 0. Two zero states give 0; only `before` zero gives inf.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(relative_change(jnp.array([[3.0, 5.0]]), jnp.array([[3.0, 4.0]]))), 6)
        0.2
    """
    after, before = _pair(after, before, segment_ids)
    size = jnp.maximum(_largest(after), _largest(before))
    size = jnp.where(size > 0, size, 1)
    after, before = after / size, before / size
    change = jnp.sqrt(jnp.sum(jnp.square(after - before), axis=(-2, -1)))
    norm = jnp.sqrt(jnp.sum(jnp.square(before), axis=(-2, -1)))
    return jnp.where(change == 0, 0, change / norm)


def cosine(
    a: Float[Array, "*b t d"], b: Float[Array, "*c s e"], segment_ids: Segments | None = None
) -> Float[Array, "*b"]:
    """Return the cosine <a, b> / (‖a‖ ‖b‖) of two states as vectors of T D numbers.

    Args:
        a: hidden states `(..., T, D)`, any float; computed in at least float32.
        b: hidden states of the same shape.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        The cosine per leading index, in [-1, 1]; 0 where a state is 0.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(cosine(jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 4.0]]))), 3)
        0.6
    """
    a, b = (scale_to_one(x) for x in _pair(a, b, segment_ids))
    squares = jnp.sum(jnp.square(a), axis=(-2, -1)) * jnp.sum(jnp.square(b), axis=(-2, -1))
    return jnp.sum(a * b, axis=(-2, -1)) / jnp.sqrt(jnp.where(squares == 0, 1, squares))


def cka(
    a: Float[Array, "*b t d"], b: Float[Array, "*c s e"], segment_ids: Segments | None = None
) -> Float[Array, "*b"]:
    """Return the linear centered kernel alignment of two states, with tokens as samples.

    With columns centered over the valid tokens, CKA = ‖aᵀb‖² / (‖aᵀa‖ ‖bᵀb‖), in Frobenius norms. It does not change
    if a state is rotated, scaled or moved. For unrelated states of few tokens it is far above 0 (about D / T for
    T > D), so flatten batch and tokens into one axis: `u.reshape(-1, D)`.

    Args:
        a: hidden states `(..., T, D)`, any float; computed in at least float32.
        b: hidden states `(..., T, E)` of the same tokens.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        CKA per leading index, in [0, 1]; 0 where all tokens of a state are equal.

    Raises:
        ValueError: the states have different tokens.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> round(float(cka(u, 5 * u[:, ::-1] + 7)), 3)
        1.0

    Reference:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.
    """
    a, b = (_center(zero_padding(x, segment_ids), segment_ids) for x in (a, b))
    if a.shape[:-1] != b.shape[:-1]:
        raise ValueError(f"CKA compares states of the same tokens, got shapes {a.shape} and {b.shape}.")

    def squared_alignment(x: Array, y: Array) -> Array:
        product = jnp.einsum("...td,...te->...de", x, y, precision="highest")
        return jnp.sum(jnp.square(product), axis=(-2, -1))

    self_alignment = jnp.sqrt(squared_alignment(a, a)) * jnp.sqrt(squared_alignment(b, b))
    return squared_alignment(a, b) / jnp.where(self_alignment == 0, 1, self_alignment)


def _center(clean: Array, segment_ids: Segments | None) -> Array:
    """Scale a state without padding to 1 and subtract the mean of its valid tokens from each of them."""
    clean = scale_to_one(clean)
    if segment_ids is None:
        return scale_to_one(clean - jnp.mean(clean, axis=-2, keepdims=True))
    valid = (convert_segment_ids(segment_ids) > 0)[..., None]
    count = jnp.maximum(jnp.sum(valid, axis=-2, keepdims=True), 1)
    mean = jnp.sum(clean, axis=-2, keepdims=True) / count
    return scale_to_one(jnp.where(valid, clean - mean, 0))


def _largest(u: Array) -> Array:
    """Return the largest absolute value of every state."""
    return jnp.max(jnp.abs(u), axis=(-2, -1), keepdims=True, initial=0)


def _pair(a: Array, b: Array, segment_ids: Segments | None) -> tuple[Array, Array]:
    """Return both states with zeros in place of padding.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = zero_padding(a, segment_ids), zero_padding(b, segment_ids)
    if a.shape != b.shape:
        raise ValueError(f"two states of one shape are compared, got {a.shape} and {b.shape}; align them.")
    return a, b
