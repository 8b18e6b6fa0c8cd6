"""Measures of hidden states: Dirichlet energy, roughness, commutators, and oversmoothing.

Pure functions of hidden states `u`, `(..., T, D)`. Each returns one float32 (or wider) number per leading index.
Padding (`segment_ids` 0) is never read.

    T tokens, D channels, n valid tokens
"""

from collections.abc import Callable
from typing import TypeAlias

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
    runs = None if segment_ids is None else stencil.run_ids(convert_segment_ids(segment_ids))
    if u.shape[-2] == 0:
        return jnp.zeros(u.shape[:-2], _to_float32(u).dtype)
    edges = stencil.difference(_zero_padding(u, segment_ids), 1, runs)
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
    squared_norm = jnp.sum(jnp.square(_zero_padding(u, segment_ids)), axis=(-2, -1))
    return dirichlet_energy(u, segment_ids) / jnp.where(squared_norm > 0, squared_norm, 1)


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

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[3.0], [4.0]])
        >>> round(float(commutator(lambda u: u[::-1], lambda u: u * jnp.array([[1.0], [0.0]]), u)), 3)
        1.667
    """
    before, after = _to_float32(f(mix(u))), _to_float32(mix(f(u)))
    size = _norm(_to_float32(f(u)).ravel())
    return _norm((after - before).ravel()) / jnp.where(size > 0, size, 1)


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
    clean = _zero_padding(u, segment_ids)
    norms = _norm(clean)[..., None]
    directions = clean / jnp.where(norms > 0, norms, 1)
    n = u.shape[-2] if segment_ids is None else jnp.sum(convert_segment_ids(segment_ids) > 0, axis=-1)
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
    sigma = jnp.linalg.svd(_zero_padding(u, segment_ids), compute_uv=False)
    total = jnp.sum(sigma, axis=-1, keepdims=True)
    p = sigma / jnp.where(total > 0, total, 1)
    return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1)), axis=-1))


def _norm(u: Array) -> Array:
    """Return the 2-norm over the last axis; its gradient at 0 is 0 instead of NaN."""
    square = jnp.sum(jnp.square(u), axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _to_float32(u: Array) -> Array:
    """Convert `u` to at least float32."""
    return u.astype(jnp.promote_types(u.dtype, jnp.float32))


def _zero_padding(u: Array, segment_ids: Segments | None) -> Array:
    """Convert `u` to at least float32, with zeros in place of padding."""
    if segment_ids is None:
        return _to_float32(u)
    return jnp.where(convert_segment_ids(segment_ids)[..., None] > 0, _to_float32(u), 0)
