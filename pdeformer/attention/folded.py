"""The exact rewrite: a linear evolution of the weights acts on what meets them, at O(T) instead of O(T · S).

    weights, key axis     (A Mᵀ) V = A (Mᵀ V)          the values, before attention; Mᵀ reverses an advection
    weights, query axis   (M A) V = M (A V)            the output, after it
    logits                M S Mᵀ = (M Q)(M K)ᵀ         queries and keys; a factor is left out where its axis is

M is the propagator of all steps on the path graph of the tokens. In a causal row the weights meet a wall behind
the query, which no common M has. Within n steps only the last n weights of the row feel it:

    far     keys s <= t - n: through the evolved values, of which entry s depends on V[s-n … s+n], none later than t
    near    the last n weights are evolved in a window of the 2n keys that end at t, and then meet V

The two are joined by their log-sum-exps. No operation reads a later token.

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width, D value width, n steps,
    C rows of a chunk
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pdeformer import stencil
from pdeformer.attention.chunked import AttentionMask, AttentionOutput, DropoutBits, chunked_attention, kept
from pdeformer.attention.materialized import Evolution, integrate, scores, softmax
from pdeformer.attention.performer import linear_attention
from pdeformer.attention.tiled import Head, by_token, each_head, heads, tiled
from pdeformer.integrators.api import select_method
from pdeformer.integrators.propagator import propagate
from pdeformer.pde import PDE
from pdeformer.stencil import Path

CHUNK = 64  # rows whose windows are taken out of one matrix product; more rows, more waste


def transport(
    evolution: Evolution, pde: PDE, u: Float[Array, "b t n d"], ids: Array | None, *, adjoint: bool = False
) -> Float[Array, "b t n d"]:
    """M u along the tokens, or Mᵀ u, in every head. Coefficients (steps, N or 1)."""
    batch, length, heads, width = u.shape
    graph = stencil.path(length, ids, "neumann", ndim=3)

    def channels(x: Array) -> Array:
        """(steps, N) -> (steps, 1, 1, N·D)."""
        whole = jnp.broadcast_to(x[:, :, None], (x.shape[0], heads, width))
        return x[:, :, None, None] if x.shape[1] == 1 else whole.reshape(x.shape[0], 1, 1, -1)

    coefficients = jax.tree.map(channels, pde)

    def apply(u: Array) -> Array:
        if not evolution.constant:
            return integrate(coefficients, evolution.order, u, graph)
        one = jax.tree.map(lambda x: x[0], coefficients)
        method = select_method(one, "auto", evolution.steps, "neumann", segmented=ids is not None, causal=False)
        return propagate(one, u, graph, steps=evolution.steps, method=method)

    flat = u.reshape(batch, length, -1)
    moved = jax.vjp(apply, flat)[1](flat)[0] if adjoint else apply(flat)  # linear: its vjp is its transpose
    return moved.reshape(u.shape)


def attend(
    evolution: Evolution,
    query: Array,
    key: Array,
    value: Array,
    seen: AttentionMask,
    dropout_bits: DropoutBits | None,
) -> AttentionOutput:
    """The base attention, by the kernel that serves it; `query` is scaled."""
    if not evolution.random_features:
        return chunked_attention(
            query, key, value, seen, scale=1.0, dropout=evolution.dropout, dropout_bits=dropout_bits
        )
    if seen.low is None and seen.query_ids is None:
        return linear_attention(query, key, value, seen.high)
    return tiled(evolution, None, query, key, value, seen, dropout_bits)


def folded(
    evolution: Evolution,
    pde: PDE,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: AttentionMask,
    dropout_bits: DropoutBits | None,
) -> AttentionOutput:
    """The evolved attention of a linear `pde`, and the log-sum-exp of its scores before the evolution.

    Without `shared` coefficients K = N: the key heads come repeated. Of evolved logits, theirs is returned.
    """
    pde = jax.tree.map(lambda x: x[:, :1], pde) if evolution.shared else pde
    move = partial(transport, evolution, pde)
    by_key, by_query = (evolution.axis in (name, "both") for name in ("key", "query"))
    if evolution.target == "logits":
        query = move(query, seen.query_ids) if by_query else query
        key = move(key, seen.key_ids) if by_key else key
        return attend(evolution, query, key, value, seen, dropout_bits)
    mixed = move(value, seen.key_ids, adjoint=True) if by_key else value
    if evolution.causal:
        assert seen.high is not None
        far = attend(
            evolution, query, key, mixed, seen._replace(high=seen.high - evolution.steps), dropout_bits
        )
        return join(far, near(evolution, pde, query, key, value, seen, seen.high, dropout_bits))
    output, lse = attend(evolution, query, key, mixed, seen, dropout_bits)
    return AttentionOutput(move(output, seen.query_ids) if by_query else output, lse)


def join(a: AttentionOutput, b: AttentionOutput) -> AttentionOutput:
    """Attention over two disjoint sets of keys, from that over each."""
    top = lax.stop_gradient(jnp.maximum(a.log_sum_exp, b.log_sum_exp))
    top = jnp.where(top > -jnp.inf, top, 0)
    share = jnp.exp(a.log_sum_exp - top), jnp.exp(b.log_sum_exp - top)
    total = share[0] + share[1]
    seen = total > 0
    total = jnp.where(seen, total, 1)
    output = (share[0][..., None] * a.output + share[1][..., None] * b.output) / total[..., None]
    return AttentionOutput(output, jnp.where(seen, top + jnp.log(total), -jnp.inf))


def near(
    evolution: Evolution,
    pde: PDE,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: AttentionMask,
    high: Int[Array, ""],
    dropout_bits: DropoutBits | None,
) -> AttentionOutput:
    """The last n weights of every causal row, evolved among the 2n keys that end at the query.

    Row t ends at key p = t + high. Rows are taken in chunks of C >= 2n - 1: the windows of a chunk lie in the block
    of C + 2n - 1 keys that ends with its last row, and are the diagonals of one matrix product.
    """
    length, steps, window = query.shape[1], evolution.steps, 2 * evolution.steps
    chunk = -(-max(window, min(CHUNK, length)) // 8) * 8
    chunks = -(-length // chunk)
    block = chunk + window - 1

    def split(x: Array) -> Array:
        """(G, T, ...) -> (chunks, G, C, ...)."""
        x = jnp.pad(x, [(0, 0), (0, chunks * chunk - length)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(x.shape[0], chunks, chunk, *x.shape[2:]), 1, 0)

    def blocks(x: Array) -> Array:
        """(S, ...) -> (chunks, block, ...): the keys from p - 2n + 1 of the first row of a chunk to p of its last."""
        front, total = length + window - 1, (chunks + 1) * chunk
        x = jnp.pad(x, [(front, total)] + [(0, 0)] * (x.ndim - 1))
        x = lax.dynamic_slice_in_dim(x, high + length, total).reshape(chunks + 1, chunk, *x.shape[1:])
        return jnp.concatenate([x[:-1], x[1:, : window - 1]], axis=1)

    def one(head: Head):
        runs = None if head.key_ids is None else stencil.run_ids(head.key_ids)
        place = jnp.arange(head.key.shape[0]) + 1  # 0 stands for no key
        key_side = jax.tree.map(blocks, (head.key, head.value, place, head.key_ids, runs, head.key_coins))
        query_ids = None if head.query_ids is None else head.query_ids[None]
        query_side = jax.tree.map(split, (head.query, query_ids, head.query_coins))

        @jax.checkpoint
        def windows(xs):
            (query, query_ids, query_coin), (key, value, place, key_ids, runs, key_coin) = xs
            at = jnp.arange(chunk)[:, None] + jnp.arange(window)[None, :]  # row and window -> block
            visible = place[at] > 0
            joined = visible[:, :-1] & visible[:, 1:]
            if runs is not None:
                joined &= (runs[at[:, :-1]] == runs[at[:, 1:]]) & (runs[at[:, 1:]] > 0)
            wall = jnp.zeros((chunk, 1), bool)
            left, right = jnp.concatenate([wall, joined], 1), jnp.concatenate([joined, wall], 1)
            graph = Path(left.T, right.T, None, "neumann")
            if query_ids is not None:
                visible &= (key_ids[at] == query_ids[0][:, None]) & (query_ids[0] > 0)[:, None]
            if seen.low is not None:
                visible &= jnp.arange(window)[None, :] >= window - 1 + seen.low - high

            def row(query, coefficients, bits):
                pairs = scores(query, key[steps:], random_features=evolution.random_features)
                weights, lse = softmax(diagonals(pairs, steps), visible[:, steps:])
                if bits is not None:
                    alive = kept(bits[:, None], key_coin[at[:, steps:]], evolution.dropout)
                    weights = jnp.where(alive, weights / (1 - evolution.dropout), 0)
                pde = jax.tree.map(lambda x: x[:, None, None], coefficients)
                weights = jnp.pad(weights, ((0, 0), (steps, 0))).T
                return from_diagonals(integrate(pde, evolution.order, weights, graph).T, block) @ value, lse

            return jax.vmap(row)(query, head.pde, query_coin)

        output, lse = lax.map(windows, (query_side, key_side))
        output, lse = (jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]) for x in (output, lse))
        return output[:, :length], lse[:, :length]

    arguments = heads(query, key, value, pde, seen, dropout_bits)
    output, lse = each_head(one, arguments, serial=jax.default_backend() == "cpu")
    return AttentionOutput(by_token(output), by_token(lse))


def diagonals(matrix: Float[Array, "c w"], count: int) -> Float[Array, "c k"]:
    """(i, b) -> matrix[i, i + b], b < `count`: one reshape to rows that are longer by one."""
    rows, width = matrix.shape
    return jnp.pad(matrix.reshape(-1), (0, rows)).reshape(rows, width + 1)[:, :count]


def from_diagonals(band: Float[Array, "c k"], width: int) -> Float[Array, "c w"]:
    """The matrix of `width` columns with band[i, b] at (i, i + b) and 0 elsewhere."""
    rows, count = band.shape
    return jnp.pad(band, ((0, 0), (0, width + 1 - count))).reshape(-1)[: rows * width].reshape(rows, width)
