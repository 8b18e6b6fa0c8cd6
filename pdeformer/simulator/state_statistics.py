"""What a simulation records of the state after each layer, inside its `lax.scan`.

B batch, T tokens, D channels, N heads
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pdeformer import diagnostics


class Observation(NamedTuple):
    """One state and what it can be compared with."""

    u: Float[Array, "b t d"]
    """State after the layer."""
    before: Float[Array, "b t d"]
    """State before the layer."""
    first: Float[Array, "b t d"]
    """State before the first layer."""
    reference: Float[Array, "b t d"] | None
    """State of the reference network after the same layer, if there is one."""
    project: Callable[[Array], tuple[Array, ...]]
    """Query, key and value `(B, T, N, H)` that the attention of the layer forms of a state."""
    segment_ids: Int[Array, "b t"] | None
    """Segment ids of the tokens."""
    causal: bool
    """Whether a token sees only itself and earlier tokens."""


class StateStatistics(NamedTuple):
    """Numbers about one state, each a mean over the rows of the batch; NaN where the state is not finite."""

    norm: Float[Array, ""]
    """Root mean square of the entries."""
    relative_change: Float[Array, ""]
    """‖u - before‖ / ‖before‖."""
    cosine_to_input: Float[Array, ""]
    """Cosine of state and first state."""
    cka_to_input: Float[Array, ""]
    """Centered kernel alignment of state and first state, over all tokens of the batch."""
    token_similarity: Float[Array, ""]
    """Mean cosine of two tokens of a row; 1 is full oversmoothing."""
    effective_rank: Float[Array, ""]
    """Effective rank of the tokens of a row, from 1 to min(T, D)."""
    dirichlet_energy: Float[Array, ""]
    """Dirichlet energy ½ Σ ‖u_{j+1} - u_j‖² of a row."""
    roughness: Float[Array, ""]
    """Dirichlet energy over the squared norm, in [0, 2]."""
    attention_entropy: Float[Array, ""]
    """Mean entropy of the attention rows that read `before`, in nats; that of plain attention if a PDE evolves it."""
    cosine_to_reference: Float[Array, ""]
    """Cosine of the state and that of the reference network after the same layer; NaN without one."""
    cka_to_reference: Float[Array, ""]
    """CKA of the two; NaN without a reference."""


def record_state(observation: Observation) -> Float[Array, "b t d"]:
    """Return the state itself: the simulation then records its trajectory."""
    return observation.u


def measure_state(observation: Observation) -> StateStatistics:
    """Return the statistics of one state."""
    u, ids = observation.u, observation.segment_ids
    is_finite = jnp.all(jnp.isfinite(u))
    u = jnp.where(is_finite, u, 0)
    before = jnp.where(jnp.all(jnp.isfinite(observation.before)), observation.before, 0)
    reference = observation.reference
    flat_ids = None if ids is None else ids.reshape(-1)

    def cka(a: Array, b: Array) -> Array:
        return diagnostics.cka(_flatten(a), _flatten(b), flat_ids)

    query, key, _ = observation.project(before)
    entropy = diagnostics.attention_entropy(query, key, segment_ids=ids, is_causal=observation.causal)
    missing = jnp.full((), jnp.nan, u.dtype)
    statistics = StateStatistics(
        norm=_root_mean_square(u, ids),
        relative_change=diagnostics.relative_change(u, before, ids),
        cosine_to_input=diagnostics.cosine(u, observation.first, ids),
        cka_to_input=cka(u, observation.first),
        token_similarity=diagnostics.token_similarity(u, ids),
        effective_rank=diagnostics.effective_rank(u, ids),
        dirichlet_energy=diagnostics.dirichlet_energy(u, ids),
        roughness=diagnostics.roughness(u, ids),
        attention_entropy=entropy,
        cosine_to_reference=missing if reference is None else diagnostics.cosine(u, reference, ids),
        cka_to_reference=missing if reference is None else cka(u, reference),
    )
    return StateStatistics(*(jnp.where(is_finite, jnp.mean(x), jnp.nan) for x in statistics))


def _flatten(u: Array) -> Array:
    return u.reshape(-1, u.shape[-1])


def _root_mean_square(u: Array, segment_ids: Array | None) -> Array:
    """Return the root mean square of the entries of valid tokens, without overflow."""
    valid = jnp.ones(u.shape[:2], bool) if segment_ids is None else segment_ids > 0
    u = jnp.where(valid[..., None], u, 0)
    size = jnp.max(jnp.abs(u), initial=0)
    size = jnp.where(size > 0, size, 1)
    mean = jnp.sum(jnp.square(u / size)) / (jnp.maximum(jnp.sum(valid), 1) * u.shape[-1])
    return size * jnp.sqrt(mean)
