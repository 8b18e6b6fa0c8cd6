"""What diffusion does to hidden states, in numbers: roughness, commutation with attention, oversmoothing.

Pure functions of hidden states `u`, `(..., T, D)`; each returns one float32 number (or wider) per leading
index. Padding (`segment_ids` 0) is never read.

    T tokens, D channels, n valid tokens
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pdeformer import stencil


def dirichlet_energy(
    u: Float[Array, "*b t d"], segment_ids: Int[Array, "*b t"] | None = None
) -> Float[Array, "*b"]:
    """E(u) = 1/2 Σ_j e_j |u_{j+1} - u_j|², e_j = 1 between neighbours in one segment.

    E = -1/2 <u, Lu> with the Neumann Laplacian L, so 0 ≤ E ≤ 2 |u|². One heat step M = I + αL obeys
    E(Mu) ≤ E(u) - α(1 - 2α) |Lu|² for 0 ≤ α ≤ 1/2. [Zhang & Zhou, "Where to Add PDE Diffusion in
    Transformers", 2026]
    """
    runs = None if segment_ids is None else stencil.run_ids(segment_ids)
    edges = stencil.difference(_valid_only(u, segment_ids), 1, runs)
    return jnp.sum(jnp.square(edges), axis=(-2, -1)) / 2


def roughness(u: Float[Array, "*b t d"], segment_ids: Int[Array, "*b t"] | None = None) -> Float[Array, "*b"]:
    """ρ(u) = E(u) / |u|², in [0, 2]: 0 for equal tokens or u = 0, near 2 for alternating signs."""
    norm = jnp.sum(jnp.square(_valid_only(u, segment_ids)), axis=(-2, -1))
    return dirichlet_energy(u, segment_ids) / jnp.where(norm > 0, norm, 1)


def commutator(
    mix: Callable[[Array], Array], f: Callable[[Array], Array], u: Float[Array, "*s"]
) -> Float[Array, ""]:
    """|mix(f(u)) - f(mix(u))| / |f(u)|, Frobenius norms over the whole array.

    0 when a mixing step and a sublayer commute, as two diffusions do; large when it matters which comes first
    ("double mixing"). `mix` and `f` map hidden states to hidden states of the same shape; f(u) ≠ 0.
    """
    before, after = _wide(f(mix(u))), _wide(mix(f(u)))
    return jnp.linalg.norm((after - before).ravel()) / jnp.linalg.norm(_wide(f(u)).ravel())


def token_similarity(
    u: Float[Array, "*b t d"], segment_ids: Int[Array, "*b t"] | None = None
) -> Float[Array, "*b"]:
    """Mean cosine over all pairs of different valid tokens: 1 when all have collapsed to one direction.

    Computed in O(T D) from the unit vectors v_j as (|Σ_j v_j|² - Σ_j |v_j|²) / (n (n - 1)). A zero token has
    cosine 0 with every other; fewer than two tokens give 1. Packed segments of one row are pooled.
    """
    clean = _valid_only(u, segment_ids)
    length = jnp.linalg.norm(clean, axis=-1, keepdims=True)
    units = clean / jnp.where(length > 0, length, 1)
    n = jnp.full((), u.shape[-2]) if segment_ids is None else jnp.sum(segment_ids > 0, axis=-1)
    total = jnp.sum(jnp.square(jnp.sum(units, axis=-2)), axis=-1) - jnp.sum(jnp.square(units), axis=(-2, -1))
    return jnp.where(n > 1, total / jnp.maximum(n * (n - 1), 1).astype(total.dtype), 1)


def effective_rank(
    u: Float[Array, "*b t d"], segment_ids: Int[Array, "*b t"] | None = None
) -> Float[Array, "*b"]:
    """exp(-Σ_i p_i log p_i) with p_i = σ_i / Σσ, σ the singular values of the (T, D) matrix of valid tokens.

    Between 1 (one direction) and min(n, D) (equal singular values); 1 for u = 0. [Roy & Vetterli, "The
    effective rank: a measure of effective dimensionality", EUSIPCO 2007]
    """
    values = jnp.linalg.svd(_valid_only(u, segment_ids), compute_uv=False)
    total = jnp.sum(values, axis=-1, keepdims=True)
    share = values / jnp.where(total > 0, total, 1)
    return jnp.exp(-jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)), axis=-1))


def _wide(u: Array) -> Array:
    return u.astype(jnp.promote_types(u.dtype, jnp.float32))


def _valid_only(u: Array, segment_ids: Array | None) -> Array:
    """`u` in at least float32 with zeros in place of padding."""
    return _wide(u) if segment_ids is None else jnp.where(segment_ids[..., None] > 0, _wide(u), 0)
