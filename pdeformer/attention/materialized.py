"""The definition: attention weights of a block of query rows, evolved step by step over pseudo-time.

    A(0) = softmax(S) over the keys a query sees, S = scale · QKᵀ, or S = log φ(Q)φ(K)ᵀ for random features
    weights:  A(n) = the pde's n steps on A(0)                      logits:  A = softmax(the pde's n steps on S)

Space is the key axis of every row, the query axis of every column, or first one and then the other. Its edges are
those of the tokens' path graph: neighbours of one segment. In a causal row a wall stands behind the query itself.
The same lines serve the whole matrix and a tile of it. [Zhang & Zhou, "Continuous-Time Attention", 2025]

    B batch, T query tokens, S key tokens, C rows of a block, N heads, H head or feature width
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from pdeformer import stencil
from pdeformer.attention.chunked import AttentionMask, DropoutBits, kept
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, reaction_flow
from pdeformer.stencil import Path


@dataclass(frozen=True)
class Evolution:
    """What becomes of the weights: all static, the coefficients travel beside it."""

    steps: int
    target: str
    axis: str
    causal: bool
    order: str  # of reaction and diffusion: "strang", "euler" or "reaction_first"
    renormalize: bool
    random_features: bool  # query and key are features, whose products are the weights
    shared: bool  # one coefficient for all heads
    constant: bool  # one coefficient for all steps
    dropout: float


def integrate(pde: PDE, order: str, u: Float[Array, "*b s c"], graph: Path) -> Float[Array, "*b s c"]:
    """`pde` along axis -2 of u, one step for each entry of the first axis of its coefficients."""
    if isinstance(pde, Wave):
        return _leapfrog(pde, u, graph)
    if isinstance(pde, ReactionDiffusion) and order == "strang":
        return _strang(pde, u, graph)
    if isinstance(pde, ReactionDiffusion) and order == "reaction_first":
        u = u + _reaction(pde, pde.beta.sum(0), u)
        pde = pde.diffusion()

    def step(u, pde):
        change = _increment(pde, u, graph)
        return u + (
            change + _reaction(pde, pde.beta, u) if isinstance(pde, ReactionDiffusion) else change
        ), None

    return lax.scan(jax.checkpoint(step), u, pde)[0]


def _leapfrog(pde: Wave, u: Array, graph: Path) -> Array:
    """From rest: u_1 = u_0 + ½ r L u_0; v = u_k - u_{k-1} keeps its digits."""
    first, later = jax.tree.map(lambda x: x[0], pde), jax.tree.map(lambda x: x[1:], pde)
    kick = 0.5 * _increment(first, u, graph)

    def leap(state, pde):
        u, v = state
        v = v + _increment(pde, u, graph)
        return (u + v, v), None

    return lax.scan(jax.checkpoint(leap), (u + kick, kick), later)[0][0]


def _strang(pde: ReactionDiffusion, u: Array, graph: Path) -> Array:
    """Half a reaction, diffusion, half a reaction; the halves of neighbouring steps are one exact flow."""
    half = 0.5 * pde.beta
    growth = half + jnp.concatenate([jnp.zeros_like(half[:1]), half[:-1]])

    def step(u, xs):
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


@jax.custom_vjp
def _laplacian(u: Array, left: Array, right: Array) -> Array:
    """The Neumann Laplacian, with its symmetry told to the backward pass: transposed piece by piece it is slow."""
    return stencil.laplacian(u, Path(left, right, None, "neumann"))


_laplacian.defvjp(
    lambda u, left, right: (_laplacian(u, left, right), (left, right)),
    lambda graph, cotangent: (_laplacian(cotangent, *graph), None, None),
)


def _reaction(pde: ReactionDiffusion, growth: Array, u: Array) -> Array:
    """R(u) · dt for growth = β dt: growth · u (1 - u) or growth · u (1 - u²)."""
    return growth * u * (1 - u ** {"fisher": 1, "allen_cahn": 2}[pde.reaction])


def scores(query: Float[Array, "*b c h"], key: Float[Array, "*b s h"], *, random_features: bool) -> Array:
    """(..., C, S): the products, or their logarithms where they are the weights themselves."""
    batch = tuple(range(query.ndim - 2))
    products = lax.dot_general(query, key, (((query.ndim - 1,), (key.ndim - 1,)), (batch, batch)))
    if not random_features:
        return products
    return jnp.log(jnp.maximum(products, jnp.finfo(products.dtype).tiny))


def softmax(scores: Float[Array, "*b c s"], seen: Bool[Array, "*b c s"] | None) -> tuple[Array, Array]:
    """Softmax over the keys that are seen, 0 for a row that sees none, and its log-sum-exp, `(..., C)`."""
    if seen is not None:
        scores = jnp.where(seen, scores, -jnp.inf)
    top = lax.stop_gradient(jnp.maximum(scores.max(-1, keepdims=True), jnp.finfo(scores.dtype).min))
    weights = jnp.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    any_key = total > 0
    total = jnp.where(any_key, total, 1)
    return weights / total, jnp.where(any_key, top + jnp.log(total), -jnp.inf)[..., 0]


def key_path(seen: AttentionMask, t: Array, keys: int, ndim: int, *, causal: bool) -> Path:
    """The edges along the keys, `(..., S, 1)`, or `(..., S, C)` with a wall behind every query of a causal block."""
    graph = stencil.path(keys, seen.key_ids, "neumann", ndim=ndim)
    left, right = graph.left, graph.right
    if causal and seen.high is not None:
        lead = (1,) * (ndim - 2)
        last = (t + seen.high).reshape(*lead, 1, -1)
        s = jnp.arange(keys).reshape(*lead, -1, 1)
        left, right = left & (s <= last), right & (s < last)
    return Path(left, right, None, "neumann")  # beyond its segment a row is 0 and stays so


def evolved_weights(
    evolution: Evolution,
    pde: PDE | None,
    query: Float[Array, "*b c h"],
    key: Float[Array, "*b s h"],
    seen: AttentionMask,
    t: Array,
    dropout_bits: DropoutBits | None,
) -> tuple[Float[Array, "*b c s"], Float[Array, "*b c"]]:
    """The weights of the queries at `t`, evolved, and the log-sum-exp of their scores before.

    `query` is scaled. Coefficients are `(steps, ..., 1, 1)`; ids and bits `(..., C)` and `(..., S)`. On weights
    the dropped ones are zeroed before the evolution. `pde` None leaves the weights as they are.
    """
    keys = key.shape[-2]
    graph = key_path(seen, t, keys, query.ndim, causal=evolution.causal)

    def evolve(u: Array) -> Array:
        if pde is None:
            return u
        if evolution.axis in ("key", "both"):
            u = jnp.swapaxes(integrate(pde, evolution.order, jnp.swapaxes(u, -1, -2), graph), -1, -2)
        if evolution.axis in ("query", "both"):
            u = integrate(pde, evolution.order, u, graph)  # the queries are the keys' tokens
        return u

    logits = scores(query, key, random_features=evolution.random_features)
    if evolution.target == "logits":
        logits = evolve(logits)
    mask = seen.mask(t, jnp.arange(keys))
    if mask is not None:
        mask = jnp.broadcast_to(mask.reshape((1,) * (logits.ndim - mask.ndim) + mask.shape), logits.shape)
    weights, lse = softmax(logits, mask)
    if dropout_bits is not None:
        alive = kept(dropout_bits.query[..., :, None], dropout_bits.key[..., None, :], evolution.dropout)
        weights = jnp.where(alive, weights / (1 - evolution.dropout), 0)
    if evolution.target == "weights":
        weights = evolve(weights)
    if evolution.renormalize:
        mass = weights.sum(-1, keepdims=True)
        weights = weights / jnp.where(mass == 0, 1, mass)
    return weights, lse
