"""`pde_attention`: attention whose weights or logits a PDE evolves over pseudo-time. All checks, and the methods.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from pdeformer.attention import options, performer
from pdeformer.attention.chunked import (
    AttentionMask,
    AttentionOutput,
    DropoutBits,
    attention_mask,
    check_shapes,
    draw_dropout_bits,
)
from pdeformer.attention.euler_reaction import two_calls
from pdeformer.attention.folded import attend, folded
from pdeformer.attention.materialized import Evolution, evolved_weights
from pdeformer.attention.tiled import tiled
from pdeformer.pde import PDE, Coefficient, ReactionDiffusion


class Request(NamedTuple):
    """A checked call: arrays in at least float32 without padding, `query` scaled or made features."""

    evolution: Evolution
    pde: PDE | None  # coefficients (steps, N), in units of the time step
    query: Float[Array, "b t n f"]
    key: Float[Array, "b s k f"]
    value: Float[Array, "b s k h"] | None
    seen: AttentionMask
    dropout_bits: DropoutBits | None


def pde_attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k h"],
    pde: Any,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    target: str = "weights",
    axis: str = "key",
    segment_ids: Shaped[Array | np.ndarray, "..."] | None = None,
    is_causal: bool = False,
    base: str = "softmax",
    window: int | None = None,
    scale: float | None = None,
    renormalize: str | None = None,
    method: str = "auto",
    order: str = "strang",
    features: int | None = None,
    feature_key: PRNGKeyArray | None = None,
    dropout: float = 0.0,
    dropout_key: PRNGKeyArray | None = None,
) -> Float[Array, "b t n h"]:
    """Attention with evolved weights: A(n) V, or softmax of the evolved logits times V.

        weights   A(0) = softmax(scale · QKᵀ),  dA/dτ = P A,  out = A(n·dt) V
        logits    S(0) = scale · QKᵀ,           dS/dτ = P S,  out = softmax(S(n·dt)) V

    with P the right-hand side of `pde` on the path of tokens: walls at the ends of every run of connected tokens of a
    segment, and in a causal row a wall behind the query. `pde` None or `steps` 0 is exactly plain attention.

    Args:
        query, key, value: N a multiple of K; query head n reads key head n·K // N. float32, float64, or a shorter
            float computed in float32; the output has the dtype of `value`.
        pde: Diffusion, Wave, ReactionDiffusion or AdvectionDiffusion. A coefficient is a scalar, one value per head
            (N,), or one per step and head (steps, N). Concrete ones are checked, traced ones are the caller's.
        steps, dt: explicit steps, static, and their length in pseudo-time.
        target: "weights" or "logits".
        axis: "key" (every row), "query" (every column), or "both": key steps, then query steps.
        segment_ids: int (B, T), T = S; 0 is padding, and a query sees only the keys of its own positive id. A padded
            query returns 0. Tokens of one id on both sides of a hole see each other, but no edge joins them.
        is_causal: query t sees the keys s <= t + S − T. Only axis "key" on weights.
        base: "softmax", or "performer": `features` positive random features drawn from `feature_key`.
        window: the keys with |t + S − T − s| <= window only. The evolution may widen this band by `steps`.
        scale: 1/√H by default.
        renormalize: "l1" divides a row by its sum after the last step; the default for a reaction on weights.
            Linear equations conserve the sum, 1.
        method: "materialized" is the definition; "folded" the exact rewrite around plain attention, O(T) memory;
            "tiled" the definition by row blocks. "auto" takes the fastest that is exact (`attention.serving.methods`).
        order: how a step takes reaction and diffusion: "strang", the exact flow of the reaction, split; "euler",
            R = βA(1 − A) and diffusion in one explicit step; "reaction_first", one Euler reaction over the whole
            pseudo-time, then the diffusion steps. The last, and one "euler" step, fold into two attentions.
        dropout, dropout_key: as in `dot_product_attention`, on A(0) or on the softmax of the evolved logits.

    Values and gradients of all methods agree to 3e-5 in float32 and 1e-11 in float64.

    Raises:
        ValueError: shapes or options that do not fit, combinations with no meaning, unstable coefficients, a method
            that does not apply. [Zhang & Zhou, "Continuous-Time Attention", 2025]
    """
    chosen = options.Options(
        steps=steps,
        dt=dt,
        target=target,
        axis=axis,
        is_causal=is_causal,
        base=base,
        window=window,
        scale=scale,
        renormalize=renormalize,
        method=method,
        order=order,
        features=features,
        feature_key=feature_key,
        dropout=dropout,
        dropout_key=dropout_key,
    )
    request = check(query, key, value, pde, chosen, segment_ids)
    served = options.choose(pde, chosen)
    if method == "auto" and is_causal and 2 * steps > key.shape[1]:
        served = "tiled"  # windows of 2n keys would be longer than the rows
    return run(request, served).output.astype(value.dtype)


def pde_attention_weights(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    pde: Any,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    target: str = "weights",
    axis: str = "key",
    segment_ids: Shaped[Array | np.ndarray, "..."] | None = None,
    is_causal: bool = False,
    base: str = "softmax",
    window: int | None = None,
    scale: float | None = None,
    renormalize: str | None = None,
    method: str = "materialized",
    order: str = "strang",
    features: int | None = None,
    feature_key: PRNGKeyArray | None = None,
) -> Float[Array, "b n t s"]:
    """The evolved weights themselves, in at least float32: the definition, O(T · S) memory.

    Arguments and errors are those of `pde_attention`; `method` can be nothing but "materialized" or "auto".
    """
    if method not in ("materialized", "auto"):
        raise ValueError(f"the weights are materialized, got method={method!r}; leave it out.")
    chosen = options.Options(
        steps=steps,
        dt=dt,
        target=target,
        axis=axis,
        is_causal=is_causal,
        base=base,
        window=window,
        scale=scale,
        renormalize=renormalize,
        method=method,
        order=order,
        features=features,
        feature_key=feature_key,
    )
    return materialized_weights(check(query, key, None, pde, chosen, segment_ids))[0]


def check(
    query: Array,
    key: Array,
    value: Array | None,
    pde: Any,
    chosen: options.Options,
    segment_ids: Array | np.ndarray | None,
) -> Request:
    """Check a call and make its arrays ready. Raises ValueError as `pde_attention`."""
    ids = None if segment_ids is None else jnp.asarray(segment_ids)
    options.check_choices(chosen)
    check_shapes(query, key, key if value is None else value, ids, chosen.dropout, chosen.dropout_key)
    length, keys = query.shape[1], key.shape[1]
    if pde is not None and chosen.steps:
        options.check_meaning(pde, chosen, same_tokens=length == keys)
        options.check_coefficients(pde, chosen, heads=query.shape[2])
    seen = attention_mask(length, keys, ids, is_causal=chosen.is_causal, window=chosen.window)
    return prepare(query, key, value, pde, chosen, seen)


def prepare(
    query: Array, key: Array, value: Array | None, pde: Any, chosen: options.Options, seen: AttentionMask
) -> Request:
    """The arrays of a call in at least float32, padding zeroed, the query scaled or made features."""
    dtype = jnp.promote_types(query.dtype, jnp.float32)
    heads, steps = query.shape[2], chosen.steps
    pde = None if steps == 0 else pde
    shapes = [jnp.shape(x) for x in jax.tree.leaves(pde)]
    if pde is not None:
        pde = jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, heads)), _arrays(pde, chosen.dt, dtype))
    renormalize = chosen.renormalize == "l1"
    if chosen.renormalize is None:
        renormalize = isinstance(pde, ReactionDiffusion) and chosen.target == "weights"
    dropout_bits = None
    if chosen.dropout > 0 and chosen.dropout_key is not None:
        dropout_bits = draw_dropout_bits(chosen.dropout_key, query, key)
    query = _clean(query, seen.query_ids, dtype)
    key = _clean(key, seen.key_ids, dtype)
    value = None if value is None else _clean(value, seen.key_ids, dtype)
    scale = query.shape[-1] ** -0.5 if chosen.scale is None else chosen.scale
    if chosen.base == "performer":
        omega = performer.directions(chosen.feature_key, chosen.features or 0, query.shape[-1], dtype)
        query = performer.features(query, omega, scale=scale, over=-1)
        key = performer.features(key, omega, scale=scale, over=None if chosen.is_causal else (1, 3))
    else:
        query = query * scale
    evolution = Evolution(
        steps=steps if pde is not None else 0,
        target=chosen.target,
        axis=chosen.axis,
        causal=chosen.is_causal,
        order=chosen.order,
        renormalize=renormalize and pde is not None,
        random_features=chosen.base == "performer",
        shared=all(len(x) == 0 for x in shapes),
        constant=all(len(x) < 2 for x in shapes),
        dropout=chosen.dropout,
    )
    return Request(evolution, pde, query, key, value, seen, dropout_bits)


def _arrays(pde: PDE, dt: Coefficient, dtype: Any) -> PDE:
    pde = jax.tree.map(lambda x: jnp.asarray(x, dtype), pde)
    return pde.scaled(jnp.asarray(dt, dtype))


def _clean(x: Array, ids: Array | None, dtype: Any) -> Array:
    # zeros instead of padding: whatever stands there, NaN included, cannot reach a value or a gradient
    x = x.astype(dtype)
    return x if ids is None else jnp.where((ids > 0)[:, :, None, None], x, 0)


def run(request: Request, method: str) -> AttentionOutput:
    """The output, and the log-sum-exp of the scores before the evolution."""
    evolution, pde, query, key, value, seen, dropout_bits = request
    assert value is not None
    if method == "materialized":
        weights, lse = materialized_weights(request)
        repeated = jnp.repeat(value, query.shape[2] // value.shape[2], axis=2)
        return AttentionOutput(jnp.einsum("bnts,bsnh->btnh", weights, repeated), jnp.swapaxes(lse, 1, 2))
    if method == "tiled":
        return tiled(evolution, pde, query, key, value, seen, dropout_bits)
    if pde is None:
        return attend(evolution, query, key, value, seen, dropout_bits)
    if not evolution.shared and key.shape[2] < query.shape[2]:
        group = query.shape[2] // key.shape[2]
        key, value = (jnp.repeat(x, group, axis=2) for x in (key, value))
        if dropout_bits is not None:
            flat = dropout_bits.query.reshape(*query.shape[:3], 1)
            dropout_bits = DropoutBits(flat, jnp.repeat(dropout_bits.key, group, axis=2))
    if isinstance(pde, ReactionDiffusion):
        return two_calls(evolution, pde, query, key, value, seen)
    return folded(evolution, pde, query, key, value, seen, dropout_bits)


def materialized_weights(request: Request) -> tuple[Float[Array, "b n t s"], Float[Array, "b n t"]]:
    """The definition on the whole matrix: the evolved weights, and the log-sum-exp before the evolution."""
    evolution, pde, query, key, _, seen, dropout_bits = request
    batch, length, heads, _ = query.shape
    group = heads // key.shape[2]

    def row(ids: Array | None) -> Array | None:
        return None if ids is None else ids[:, None]

    def columns(x: Array) -> Array:
        return jnp.moveaxis(jnp.repeat(x, group, axis=2), 2, 1)

    near = AttentionMask(seen.low, seen.high, row(seen.query_ids), row(seen.key_ids))
    pde = jax.tree.map(lambda x: x[:, None, :, None, None], pde)
    if dropout_bits is not None:
        words = dropout_bits.query.reshape(batch, length, heads)
        dropout_bits = DropoutBits(jnp.moveaxis(words, 2, 1), columns(dropout_bits.key))
    t = jnp.arange(length)
    return evolved_weights(evolution, pde, jnp.moveaxis(query, 2, 1), columns(key), near, t, dropout_bits)
