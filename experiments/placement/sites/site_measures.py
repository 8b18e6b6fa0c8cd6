"""Measures of the states at every site of a model, and of a heat step that is put there.

All measures take the heat step M = I + αL with one α for all models, whatever layer a model has itself.

B batch, T tokens, D channels, L blocks, P sites
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from experiments.placement.sites.site_states import Site, last_states, record_states, sites_of, with_cls
from experiments.placement.switched_model import Settings, switch_layers
from pdeformer import diagnostics, stencil
from pdeformer.attention import pde_attention_weights
from pdeformer.model.positions import token_positions

ALPHA = 0.25
"""Diffusivity of the heat step."""
MAX_WEIGHTS = 2**28
"""Largest number of attention weights that are written out, 1 GiB."""
ITERATIONS, POINTS = 8, 2
"""Power iterations at each point between u and Mu, and the number of points."""


class StateMeasures(NamedTuple):
    """Measures of the states, means over rows; of sites (P,) or of blocks (L,)."""

    roughness: Float[Array, " p"]
    """ρ(u) = E(u) / ‖u‖²."""
    energy: Float[Array, " p"]
    """Dirichlet energy E(u) per token."""
    commutator: Float[Array, " l"]
    """‖M Attn(u) - Attn(Mu)‖ / ‖Attn(u)‖; NaN for a mixer that is no attention."""
    frozen_commutator: Float[Array, " l"]
    """The same with the attention weights of u in both; NaN without plain weights, or for more than `MAX_WEIGHTS`."""
    double_mixing: Float[Array, " l"]
    """ρ(Attn(u)) / ρ(u)."""


class InsertionMeasures(NamedTuple):
    """The perturbation bound of a heat step at one site alone, means over rows, (P,)."""

    change: Float[Array, " p"]
    """Measured change of the last hidden states, as a share of their norm."""
    lipschitz: Float[Array, " p"]
    """Measured local Lipschitz constant of what follows."""
    share_of_bound: Float[Array, " p"]
    """Change over Lip(f) · α‖Lu‖, largest over the rows."""
    share_of_energy_bound: Float[Array, " p"]
    """Change over Lip(f) · 2α √(2E), largest over the rows."""


def heat_step(u: Array, segment_ids: Array | None) -> Array:
    """Return (I + αL)u, with padding as it is."""
    return u + ALPHA * stencil.laplacian(u, stencil.path(u.shape[-2], segment_ids, "neumann"))


@functools.partial(jax.jit, static_argnames=("graphdef", "places"))
def measure_states(
    params: Any,
    settings: Settings,
    tokens: Array,
    segment_ids: Array,
    *,
    graphdef: Any,
    places: tuple[str, ...],
) -> StateMeasures:
    """Return the measures of the states of one member.

    Args:
        params: its parameters.
        settings: its settings.
        tokens: ids (B, T).
        segment_ids: 1 on tokens, 0 on padding.
        graphdef: the model of its family.
        places: places of the family.
    """
    model = switch_layers(nnx.merge(graphdef, params), places, settings)
    states, ids = record_states(model, tokens, segment_ids), with_cls(model, segment_ids)
    sites = sites_of(model.config.layers)
    count = jnp.sum(ids > 0, axis=-1)
    roughness = [jnp.mean(diagnostics.roughness(states[site], ids)) for site in sites]
    energy = [jnp.mean(diagnostics.dirichlet_energy(states[site], ids) / count) for site in sites]
    blocks = [_mixing(model, block, states, ids) for block in range(1, model.config.layers + 1)]
    return StateMeasures(
        jnp.stack(roughness), jnp.stack(energy), *(jnp.stack(x) for x in zip(*blocks, strict=True))
    )


def _mixing(model: Any, block: int, states: dict[Site, Array], ids: Array) -> tuple[Array, Array, Array]:
    """Return both commutators and the double-mixing score of one block."""
    graphdef, params = nnx.split(model.blocks)
    attention = nnx.merge(graphdef, jax.tree.map(lambda x: x[block - 1], params)).attention
    before, after = states[Site(block, "before_attention")], states[Site(block, "after_attention")]
    clean = jnp.where(ids[..., None] > 0, before, 0)
    positions = token_positions(before.shape[1], ids) if model.config.positions == "rotary" else None
    mix = functools.partial(heat_step, segment_ids=ids)
    valid = (ids > 0)[..., None]

    def on_tokens(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda u: jnp.where(valid, f(u), 0)

    score = jnp.mean(diagnostics.double_mixing(after, before, ids))
    full = on_tokens(lambda u: attention(u, ids, key=None, positions=positions))
    commutator = diagnostics.commutator(on_tokens(mix), full, clean)
    if (
        not attention.has_plain_scores
        or before.shape[0] * attention.heads * before.shape[1] ** 2 > MAX_WEIGHTS
    ):
        return commutator, jnp.full((), jnp.nan), score
    query, key, _ = attention.project(clean, ids, positions)
    weights = pde_attention_weights(query, key, None, steps=0, segment_ids=ids, is_causal=model.causal)

    def frozen(u: Array) -> Array:
        value = attention.project(u, ids, positions)[2]
        output = jnp.einsum("bnts,bsnh->btnh", weights, value.astype(weights.dtype))
        return attention.out(output.reshape(*u.shape[:2], -1).astype(u.dtype))

    return commutator, diagnostics.commutator(on_tokens(mix), on_tokens(frozen), clean), score


@functools.partial(jax.jit, static_argnames=("graphdef", "places"))
def measure_insertions(
    params: Any,
    settings: Settings,
    tokens: Array,
    segment_ids: Array,
    *,
    graphdef: Any,
    places: tuple[str, ...],
) -> InsertionMeasures:
    """Return the perturbation bound of a heat step at every site; the arguments are those of `measure_states`."""
    layers = nnx.merge(graphdef, params).config.layers

    def at_site(index: Array) -> InsertionMeasures:
        def of_row(row: tuple[Array, Array]) -> tuple[Array, ...]:
            return _insertion(params, settings, row[0], row[1], index, graphdef, places)

        rows = jax.lax.map(of_row, (tokens, segment_ids))
        change, lipschitz, share, energy_share = rows
        return InsertionMeasures(jnp.mean(change), jnp.mean(lipschitz), jnp.max(share), jnp.max(energy_share))

    return jax.lax.map(at_site, jnp.arange(len(sites_of(layers))))


def _insertion(
    params: Any,
    settings: Settings,
    tokens: Array,
    ids: Array,
    index: Array,
    graphdef: Any,
    places: tuple[str, ...],
) -> tuple[Array, Array, Array, Array]:
    """Return change, Lipschitz constant and both shares of one row (T,) at the site of this index."""
    model = switch_layers(nnx.merge(graphdef, params), places, settings)
    sites = sites_of(model.config.layers)
    states = record_states(model, tokens[None], ids[None])
    all_ids = with_cls(model, ids[None])
    u = jnp.stack([states[site] for site in sites])[index][0].astype(jnp.float32)

    def rest(v: Array) -> Array:
        """Return the last hidden states when the state at the site is v: u plus what v differs from it."""
        own = switch_layers(nnx.merge(graphdef, params), places, settings)
        states = last_states(
            own,
            tokens[None],
            ids[None],
            lambda site, state: (
                state + jnp.where(index == sites.index(site), v - u, 0)[None].astype(state.dtype)
            ),
        )
        return jnp.where(all_ids[..., None] > 0, states, 0)

    key = jax.random.key(0)
    options: Any = {"segment_ids": all_ids[0], "iterations": ITERATIONS, "points": POINTS}
    bound = diagnostics.perturbation_bound(rest, u, ALPHA, key=key, **options)
    size = jnp.linalg.norm(rest(u).ravel())
    tiny = jnp.finfo(jnp.float32).tiny
    return (
        bound.change / size,
        bound.lipschitz,
        bound.change / jnp.maximum(bound.bound, tiny),
        bound.change / jnp.maximum(bound.energy_bound, tiny),
    )


def to_rows(states: StateMeasures, insertions: InsertionMeasures | None, layers: int) -> list[dict[str, Any]]:
    """Return one dictionary per site; the commutators and the score stand at the site after_attention."""
    rows = []
    for index, site in enumerate(sites_of(layers)):
        row: dict[str, Any] = {"block": site.block, "site": site.name}
        row |= {name: float(np.asarray(getattr(states, name))[index]) for name in ("roughness", "energy")}
        if site.name == "after_attention":
            for name in ("commutator", "frozen_commutator", "double_mixing"):
                row[name] = float(np.asarray(getattr(states, name))[site.block - 1])
        if insertions is not None:
            row |= {name: float(np.asarray(value)[index]) for name, value in insertions._asdict().items()}
        rows.append(row)
    return rows
