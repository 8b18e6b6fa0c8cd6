"""Measures of one state: Dirichlet energy, roughness, oversmoothing; and the commutator of two maps.

Pure functions of hidden states `u`, `(..., T, D)`. Each returns one float32 (or wider) number per leading index.
Padding (`segment_ids` 0) is never read.

    T tokens, D channels, n valid tokens
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from pdeformer import stencil
from pdeformer.stencil.arguments import convert_segment_ids

Segments: TypeAlias = Shaped[Array | np.ndarray, "..."] | list


def dirichlet_energy(u: Float[Array, "*b t d"], segment_ids: Segments | None = None) -> Float[Array, "*b"]:
    """Return the Dirichlet energy E(u) = ½ Σ_j e_j ‖u_{j+1} - u_j‖².

    e_j is 1 between neighbors in one segment, else 0. With the Neumann Laplacian L, E = -½ <u, Lu>, so
    0 ≤ E ≤ 2 ‖u‖². One heat step M = I + αL obeys E(Mu) ≤ E(u) - α(1 - 2α) ‖Lu‖² for 0 ≤ α ≤ 1/2.

    Args:
        u: hidden states `(..., T, D)`, any float; computed in at least float32.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        E(u) per leading index, ≥ 0, in squared units of `u`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(dirichlet_energy(jnp.array([[1.0], [2.0], [-1.0], [-1.0]])))  # (1 + 9 + 0) / 2
        5.0

    Reference:
        Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026.
    """
    clean = zero_padding(u, segment_ids)
    return _energy(clean, segment_ids)


def _energy(clean: Array, segment_ids: Segments | None) -> Array:
    """Return the Dirichlet energy of a state without padding."""
    if clean.shape[-2] == 0:
        return jnp.zeros(clean.shape[:-2], clean.dtype)
    runs = None if segment_ids is None else stencil.run_ids(convert_segment_ids(segment_ids))
    edges = stencil.difference(clean, 1, runs)
    return jnp.sum(jnp.square(edges), axis=(-2, -1)) / 2


def roughness(u: Float[Array, "*b t d"], segment_ids: Segments | None = None) -> Float[Array, "*b"]:
    """Return the roughness ρ(u) = E(u) / ‖u‖², the Dirichlet energy of a normalized state.

    ρ is 0 for equal tokens and for u = 0, and near 2 for tokens of alternating sign.

    Args:
        u: hidden states `(..., T, D)`, any float; computed in at least float32.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        ρ(u) per leading index, in [0, 2].

    Example:
        >>> import jax.numpy as jnp
        >>> float(roughness(jnp.array([[1.0], [-1.0], [1.0], [-1.0]])))
        1.5
    """
    clean = scale_to_one(zero_padding(u, segment_ids))
    squared_norm = jnp.sum(jnp.square(clean), axis=(-2, -1))
    return _energy(clean, segment_ids) / jnp.where(squared_norm == 0, 1, squared_norm)


def commutator(
    mix: Callable[[Array], Array], f: Callable[[Array], Array], u: Float[Array, "*s"]
) -> Float[Array, ""]:
    """Return the relative commutator ‖mix(f(u)) - f(mix(u))‖ / ‖f(u)‖, in Frobenius norms.

    It is 0 if the two maps commute, as two diffusions do. It is large if their order matters ("double mixing").
    Where f(u) is 0 it is the numerator alone.

    Args:
        mix: a mixing step, from hidden states to hidden states of the same shape.
        f: a sublayer, from hidden states to hidden states of the same shape.
        u: hidden states, any shape.

    Returns:
        One number ≥ 0 for the full array.

    Raises:
        ValueError: `mix` or `f` changes the shape, or a result is complex.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[3.0], [4.0]])
        >>> round(float(commutator(lambda u: u[::-1], lambda u: u * jnp.array([[1.0], [0.0]]), u)), 3)
        1.667
    """
    after_f = f(u)
    before, after = to_float32(f(mix(u))), to_float32(mix(after_f))
    if not before.shape == after.shape == jnp.shape(after_f) == jnp.shape(u):
        raise ValueError(
            f"mix and f keep the shape of hidden states, got {jnp.shape(u)} → {before.shape} and {after.shape}; the "
            "commutator has no meaning for other maps."
        )
    size = _norm(to_float32(after_f).ravel())
    return _norm((after - before).ravel()) / jnp.where(size == 0, 1, size)


def token_similarity(u: Float[Array, "*b t d"], segment_ids: Segments | None = None) -> Float[Array, "*b"]:
    """Return the mean cosine over all pairs of different valid tokens.

    It is 1 if all tokens have one direction (oversmoothing). With the unit vectors v_j it is
    (‖Σ_j v_j‖² - Σ_j ‖v_j‖²) / (n (n - 1)), in O(T D). A zero token has cosine 0 with every other token.
    Fewer than two tokens give 1. The pairs include tokens of different segments of a row.

    Args:
        u: hidden states `(..., T, D)`, any float; computed in at least float32.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        The mean cosine per leading index, in [-1, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> float(token_similarity(jnp.array([[1.0, 0.0], [0.0, 2.0]])))
        0.0
    """
    clean = zero_padding(u, segment_ids)
    # every token alone, because the direction of a small one counts as much as that of a large one
    clean = scale_to_one(clean[..., None, :])[..., 0, :]
    norms = _norm(clean)[..., None]
    directions = clean / jnp.where(norms == 0, 1, norms)
    n = clean.shape[-2] if segment_ids is None else jnp.sum(convert_segment_ids(segment_ids) > 0, axis=-1)
    n = jnp.asarray(n, clean.dtype)  # n (n - 1) overflows integers
    total = jnp.sum(jnp.square(jnp.sum(directions, axis=-2)), axis=-1)
    total -= jnp.sum(jnp.square(directions), axis=(-2, -1))
    return jnp.where(n > 1, total / jnp.maximum(n * (n - 1), 1), 1)


def effective_rank(u: Float[Array, "*b t d"], segment_ids: Segments | None = None) -> Float[Array, "*b"]:
    """Return the effective rank exp(-Σ_i p_i log p_i) of the matrix of valid tokens.

    p_i = σ_i / Σσ, where σ are the singular values of the (T, D) matrix. The rank is 1 for one direction or
    u = 0, and min(n, D) for equal singular values.

    Args:
        u: hidden states `(..., T, D)`, any float; computed in at least float32.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        The effective rank per leading index, in [1, min(n, D)].

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(effective_rank(jnp.eye(4))), 3)
        4.0

    Reference:
        Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    sigma = jnp.linalg.svd(scale_to_one(zero_padding(u, segment_ids)), compute_uv=False)
    total = jnp.sum(sigma, axis=-1, keepdims=True)
    p = sigma / jnp.where(total > 0, total, 1)
    return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1)), axis=-1))


def _norm(u: Array) -> Array:
    """Return the 2-norm over the last axis; its gradient at 0 is 0 instead of NaN."""
    square = jnp.sum(jnp.square(u), axis=-1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def scale_to_one(u: Array) -> Array:
    """Divide u (..., T, D) by its largest absolute value, so that no square overflows or underflows."""
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(u), axis=(-2, -1), keepdims=True, initial=0))
    return u / jnp.where(size > 0, size, 1)


def to_float32(u: Array) -> Array:
    """Convert `u` to at least float32.

    Raises:
        ValueError: it is complex, or no array of numbers.
    """
    u = jnp.asarray(u)
    if not (jnp.issubdtype(u.dtype, jnp.floating) or jnp.issubdtype(u.dtype, jnp.integer) or u.dtype == bool):
        raise ValueError(f"hidden states are real numbers, got dtype {u.dtype}; measure u.real and u.imag.")
    return u.astype(jnp.promote_types(u.dtype, jnp.float32))


def zero_padding(u: Array, segment_ids: Segments | None) -> Array:
    """Convert `u` to at least float32, with zeros in place of padding.

    Raises:
        ValueError: the rank, the dtype or the ids do not fit.
    """
    u = to_float32(u)
    if u.ndim < 2:
        raise ValueError(f"hidden states are (..., T, D), got shape {u.shape}; add the missing axes.")
    if segment_ids is None:
        return u
    ids = convert_segment_ids(segment_ids)
    if ids.shape[-1:] != u.shape[-2:-1]:
        raise ValueError(
            f"segment_ids needs one id per token, {u.shape[-2]}, got shape {ids.shape}; pad them."
        )
    return jnp.where(ids[..., None] > 0, u, 0)
