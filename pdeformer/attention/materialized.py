"""The definition: attention weights as a matrix, evolved step by step over pseudo-time.

    A(0) = softmax(S) over the keys that the mask allows, S = scale · QKᵀ, or S = log φ(Q)φ(K)ᵀ for random features
    weights:  A(n) = n steps of the PDE on A(0)                     logits:  A = softmax(n steps of the PDE on S)

Space is the key axis of every row, the query axis of every column, or first the key and then the query axis. Its
edges are those of the path graph of the tokens: neighbors of one segment. A causal row has a wall behind its query.
The same functions compute the full matrix or a tile of it. [Zhang & Zhou, "Continuous-Time Attention", 2025]

    B batch, T query tokens, S key tokens, C rows of a block, N heads, K key heads, H head or feature width
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from pdeformer import stencil
from pdeformer.attention.dropout import drop_weights
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import (
    AttentionInputs,
    AttentionMask,
    AttentionOutput,
    DropoutBits,
    Precision,
)
from pdeformer.integrators.linear_map import LinearMap
from pdeformer.integrators.meshes import vary_alike
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, reaction_flow
from pdeformer.stencil import Path


@dataclass(frozen=True)
class EvolutionSpec:
    """The static description of an evolution; its coefficients are arrays and passed beside it."""

    steps: int
    """Number of steps."""
    target: str
    """What evolves: "weights" or "logits"."""
    axis: str
    """Space axis: "key", "query" or "both"."""
    causal: bool
    """Every row of weights ends at its query."""
    order: str
    """Order of reaction and diffusion: "strang", "euler" or "reaction_first"."""
    renormalize: bool
    """Divide every row by its sum after the last step."""
    random_features: bool
    """Query and key are random features, whose products are the unnormalized weights."""
    shared: bool
    """One coefficient for all heads."""
    constant: bool
    """One coefficient for all steps."""
    dropout: float
    """Probability of dropping a weight."""
    precision: Precision
    """Precision of the products."""
    kernel: KernelSpec | None = None
    """The fused kernel of the attention; the inputs then have their own dtype, and the kernel scales the scores."""


def integrate(pde: PDE, order: str, u: Float[Array, "*b s c"], graph: Path) -> Float[Array, "*b s c"]:
    """Integrate `pde` along axis -2 of u, one step for each entry of the first axis of its coefficients."""
    leaves, structure = jax.tree.flatten((pde, u, graph))
    pde, u, graph = jax.tree.unflatten(structure, vary_alike(*leaves))
    if isinstance(pde, Wave):
        return _leapfrog(pde, u, graph)
    if isinstance(pde, ReactionDiffusion) and order == "strang":
        return _strang(pde, u, graph)
    if isinstance(pde, ReactionDiffusion) and order == "reaction_first":
        u = u + _reaction(pde, pde.beta.sum(0), u)
        pde = pde.diffusion()

    def step(u: Array, pde: PDE) -> tuple[Array, None]:
        change = _increment(pde, u, graph)
        return u + (
            change + _reaction(pde, pde.beta, u) if isinstance(pde, ReactionDiffusion) else change
        ), None

    return lax.scan(jax.checkpoint(step), u, pde)[0]


def _leapfrog(pde: Wave, u: Array, graph: Path) -> Array:
    """Integrate from rest: u_1 = u_0 + ½ r L u_0. The state (u, v = u_k - u_{k-1}) preserves the digits of v."""
    first, later = jax.tree.map(lambda x: x[0], pde), jax.tree.map(lambda x: x[1:], pde)
    kick = 0.5 * _increment(first, u, graph)

    def leap(state: tuple[Array, Array], pde: PDE) -> tuple[tuple[Array, Array], None]:
        u, v = state
        v = v + _increment(pde, u, graph)
        return (u + v, v), None

    return lax.scan(jax.checkpoint(leap), (u + kick, kick), later)[0][0]


def _strang(pde: ReactionDiffusion, u: Array, graph: Path) -> Array:
    """Integrate by Strang splitting; the reaction halves of consecutive steps merge into one exact flow."""
    half = 0.5 * pde.beta
    growth = half + jnp.concatenate([jnp.zeros_like(half[:1]), half[:-1]])

    def step(u: Array, xs: tuple[Array, Array]) -> tuple[Array, None]:
        alpha, growth = xs
        u = reaction_flow(u, growth, pde.reaction)
        return u + alpha * _laplacian(u, graph.left, graph.right), None

    u = lax.scan(jax.checkpoint(step), u, (pde.alpha, growth))[0]
    return reaction_flow(u, half[-1], pde.reaction)


def _increment(pde: PDE, u: Array, graph: Path) -> Array:
    if isinstance(pde, AdvectionDiffusion):
        return pde.increment(u, graph)
    assert isinstance(pde, Diffusion | Wave | ReactionDiffusion)
    rate = pde.speed**2 if isinstance(pde, Wave) else pde.alpha
    return rate * _laplacian(u, graph.left, graph.right)


def _apply_laplacian(_: None, edges: tuple[Array, Array], u: tuple[Array]) -> tuple[Array]:
    return (stencil.laplacian(u[0], Path(*edges, None, "neumann")),)


# The Neumann Laplacian is its own transpose; the automatic transpose is slow.
_symmetric_laplacian = LinearMap("neumann_laplacian", _apply_laplacian, _apply_laplacian)


def _laplacian(u: Array, left: Array, right: Array) -> Array:
    return _symmetric_laplacian(None, (left, right), (u,))[0]


def _reaction(pde: ReactionDiffusion, growth: Array, u: Array) -> Array:
    """Return R(u) · dt for growth = β dt: growth · u (1 - u) or growth · u (1 - u²)."""
    return growth * u * (1 - u ** {"fisher": 1, "allen_cahn": 2}[pde.reaction])


def scores(query: Float[Array, "*b c h"], key: Float[Array, "*b s h"], *, random_features: bool) -> Array:
    """Return products (..., C, S); for random features, whose products are weights, their logarithms."""
    batch = tuple(range(query.ndim - 2))
    products = lax.dot_general(query, key, (((query.ndim - 1,), (key.ndim - 1,)), (batch, batch)))
    if not random_features:
        return products
    return jnp.log(jnp.maximum(products, jnp.finfo(products.dtype).tiny))


def softmax(scores: Float[Array, "*b c s"], mask: Bool[Array, "*b c s"] | None) -> tuple[Array, Array]:
    """Return the softmax over the keys of the mask, and its log-sum-exp (..., C); a row without keys is 0."""
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    top = lax.stop_gradient(jnp.maximum(scores.max(-1, keepdims=True), jnp.finfo(scores.dtype).min))
    weights = jnp.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    any_key = total > 0
    total = jnp.where(any_key, total, 1)
    return weights / total, jnp.where(any_key, top + jnp.log(total), -jnp.inf)[..., 0]


def key_path(mask: AttentionMask, t: Array, keys: int, ndim: int, *, causal: bool) -> Path:
    """Return the edges along the keys: (..., S, 1), or (..., S, C) with a wall behind every causal query."""
    graph = stencil.path(keys, mask.key_ids, "neumann", ndim=ndim)
    left, right = graph.left, graph.right
    if causal and mask.high is not None:
        lead = (1,) * (ndim - 2)
        last = (t + mask.high).reshape(*lead, 1, -1)
        s = jnp.arange(keys).reshape(*lead, -1, 1)
        left, right = left & (s <= last), right & (s < last)
    return Path(left, right, None, "neumann")  # a row is 0 outside its segment and stays 0


def evolve_weights(
    spec: EvolutionSpec,
    pde: PDE | None,
    query: Float[Array, "*b c h"],
    key: Float[Array, "*b s h"],
    mask: AttentionMask,
    t: Array,
    dropout_bits: DropoutBits | None,
) -> tuple[Float[Array, "*b c s"], Float[Array, "*b c"]]:
    """Return the evolved weights of the queries at `t`, and the log-sum-exp of their scores before the evolution.

    `query` is scaled. Coefficients have shape `(steps, ..., 1, 1)`; ids and bits `(..., C)` and `(..., S)`. On
    weights, dropout sets weights to zero before the evolution. With `pde` None the weights do not evolve.
    """
    keys = key.shape[-2]
    graph = key_path(mask, t, keys, query.ndim, causal=spec.causal)

    def evolve(u: Array) -> Array:
        if pde is None:
            return u
        if spec.axis in ("key", "both"):
            u = jnp.swapaxes(integrate(pde, spec.order, jnp.swapaxes(u, -1, -2), graph), -1, -2)
        if spec.axis in ("query", "both"):
            u = integrate(pde, spec.order, u, graph)  # queries and keys are the same tokens here
        return u

    logits = scores(query, key, random_features=spec.random_features)
    if spec.target == "logits":
        logits = evolve(logits)
    dense = mask.dense(t, jnp.arange(keys))
    if dense is not None:
        dense = jnp.broadcast_to(dense.reshape((1,) * (logits.ndim - dense.ndim) + dense.shape), logits.shape)
    weights, lse = softmax(logits, dense)
    if dropout_bits is not None:
        bits = dropout_bits.query[..., :, None], dropout_bits.key[..., None, :]
        weights = drop_weights(weights, *bits, spec.dropout)
    if spec.target == "weights":
        weights = evolve(weights)
    if spec.renormalize:
        mass = weights.sum(-1, keepdims=True)
        weights = weights / jnp.where(mass == 0, 1, mass)
    return weights, lse


def materialized_weights(
    spec: EvolutionSpec, pde: PDE | None, inputs: AttentionInputs
) -> tuple[Float[Array, "b n t s"], Float[Array, "b n t"]]:
    """Return the full matrix of evolved weights, and the log-sum-exp of the scores before the evolution."""
    query, key, _, mask, dropout_bits = inputs
    batch, length, heads, _ = query.shape
    group = heads // key.shape[2]

    def per_head(ids: Array | None) -> Array | None:
        return None if ids is None else ids[:, None]

    def repeat_heads(x: Array) -> Array:
        return jnp.moveaxis(jnp.repeat(x, group, axis=2), 2, 1)

    mask = AttentionMask(mask.low, mask.high, per_head(mask.query_ids), per_head(mask.key_ids))
    pde = jax.tree.map(lambda x: x[:, None, :, None, None], pde)
    if dropout_bits is not None:
        query_bits = dropout_bits.query.reshape(batch, length, heads)
        dropout_bits = DropoutBits(jnp.moveaxis(query_bits, 2, 1), repeat_heads(dropout_bits.key))
    t = jnp.arange(length)
    return evolve_weights(spec, pde, jnp.moveaxis(query, 2, 1), repeat_heads(key), mask, t, dropout_bits)


def materialized_attention(spec: EvolutionSpec, pde: PDE | None, inputs: AttentionInputs) -> AttentionOutput:
    """Return the evolved weights times the values, and the log-sum-exp of the scores before the evolution."""
    value: Any = inputs.value
    weights, lse = materialized_weights(spec, pde, inputs)
    repeated = jnp.repeat(value, inputs.query.shape[2] // value.shape[2], axis=2)
    return AttentionOutput(jnp.einsum("bnts,bsnh->btnh", weights, repeated), jnp.swapaxes(lse, 1, 2))
