"""Attention under a knockout mask, and the one place that chooses how it is computed.

    softmax(QKᵀ/√H) V over the keys that the mask leaves

On a TPU or GPU the kernel of `attention_kernel` serves half precision. Everything else (the CPU, float32, which keeps
all digits, more types than an integer has bits, heads that a mesh cannot split) takes products of XLA, a few queries at
a time where the scores are large.

B batch, T queries, S keys, N heads, K key and value heads, H head width, Y token types
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from pid.llava.model.attention_kernel import BLOCKS, Blocks, Keys, flash_attention
from pid.llava.model.layers import has_axes, precision_of
from pid.llava.tokens import TokenType

MAX_SCORES = 1 << 26
"""Largest number of scores in memory at once: 256 MiB."""
MAX_TYPES = 31
"""Largest number of types that the kernel tells apart."""
KERNEL_WIDTHS = (64, 128)
"""Head widths that the kernel serves."""
KERNEL_KEYS = 12288
"""Largest number of keys that the kernel serves: those of one head lie in the fast memory of a TPU."""


class KVCache(NamedTuple):
    """Keys with rotary positions, and values, of earlier tokens."""

    key: Float[Array, "*l b s k h"]
    """Keys (B, S, K, H) of one layer; a leading axis L for all layers."""
    value: Float[Array, "*l b s k h"]
    """Values in the same shape."""


class AttentionMask(NamedTuple):
    """Which of S tokens the last T of them attend to in one layer."""

    query_types: Int[Array, "b t"]
    """The types of the T tokens."""
    key_types: Int[Array, "b s"]
    """The types of all S tokens."""
    knockout_mask: Bool[Array, "one y y"]
    """The pairs of types that are removed."""

    def pairs(self, queries: Int[Array, "r"] | None = None) -> Bool[Array, "b r s"]:
        """Whether the query takes the key: no later token, no padding, and no pair that the knockout mask removes.

        `queries` are the numbers of some of the T tokens.
        """
        keys = self.key_types.shape[1]
        index = np.arange(self.query_types.shape[1]) if queries is None else queries
        query_types = self.query_types if queries is None else self.query_types[:, queries]
        causal = jnp.arange(keys)[None] <= index[:, None] + keys - self.query_types.shape[1]
        taken = causal[None] & (self.key_types > TokenType.PAD)[:, None]
        return taken & ~knockout_pairs(self.knockout_mask, query_types, self.key_types)

    def bits(self) -> tuple[Int[Array, "b t"], Int[Array, "b s"]]:
        """The bits of the types that are removed from each query, and the bit of the type of each key."""
        size = self.knockout_mask.shape[-1]
        values = jnp.left_shift(jnp.int32(1), jnp.arange(size, dtype=jnp.int32))
        by_type = jnp.sum(jnp.where(self.knockout_mask, values[None, None], 0), axis=-1)
        is_type = self.query_types[..., None] == jnp.arange(size)[None, None]
        removed = jnp.sum(jnp.where(is_type, by_type[:, None], 0), axis=-1, dtype=jnp.int32)
        known = jnp.left_shift(jnp.int32(1), jnp.minimum(self.key_types, size).astype(jnp.int32))
        return removed | (1 << TokenType.PAD), jnp.where(self.key_types < size, known, 0)


def knockout_pairs(
    knockout_mask: Bool[Array, "one y y"], query_types: Int[Array, "b t"], key_types: Int[Array, "b s"]
) -> Bool[Array, "b t s"]:
    """Whether the pair of query t and key s is removed: knockout_mask[b, query_types[b, t], key_types[b, s]].

    A `TokenType` beyond the size of the mask is never removed. Computed as two small matrix products, which a mesh
    can split.
    """
    size = knockout_mask.shape[-1]
    query, key = (jax.nn.one_hot(types, size, dtype=jnp.float32) for types in (query_types, key_types))
    table = jnp.broadcast_to(knockout_mask, (query_types.shape[0], *knockout_mask.shape[1:]))
    return jnp.einsum("btx,bxy,bsy->bts", query, table.astype(jnp.float32), key, precision="highest") > 0.5


def attention(
    query: Float[Array, "b t n h"], caches: tuple[KVCache, ...], mask: AttentionMask | None
) -> Float[Array, "b t n h"]:
    """softmax(QKᵀ/√H) V over those of the S keys of all caches that the mask leaves. A query without keys gets 0.

    Each of the K key heads serves N/K consecutive query heads. The keys of the caches are never concatenated: under
    `vmap` a cache that all conditions share stays one array. Scores, softmax and sums are float32. Without a mask every
    query takes every key.
    """
    platform = kernel_platform(query, caches, mask)
    if platform is None:
        return xla_attention(query, caches, mask)
    return _kernel_or_xla(platform, query, caches, mask)


def kernel_platform(query: Any, caches: tuple[KVCache, ...], mask: AttentionMask | None) -> str | None:
    """The platform whose kernel serves these arrays; None if none does."""
    platform, mesh = jax.default_backend(), jax.typeof(query).sharding.mesh
    dtypes = {"tpu": (jnp.bfloat16,), "gpu": (jnp.bfloat16, jnp.float16)}.get(platform, ())
    serves = (
        query.dtype in dtypes
        and query.shape[-1] in KERNEL_WIDTHS
        and sum(cache.key.shape[1] for cache in caches) <= KERNEL_KEYS
        and (mask is None or mask.knockout_mask.shape[-1] <= MAX_TYPES)
        and _mesh_splits(mesh, query, caches)
    )
    return platform if serves else None


def _mesh_splits(mesh: Any, query: Any, caches: tuple[KVCache, ...]) -> bool:
    """Whether batch and heads divide evenly over the axes "data" and "model" of the mesh, if there is one."""
    if mesh.empty or mesh.size == 1:
        return True
    return (
        has_axes(mesh)
        and query.shape[0] % mesh.shape["data"] == 0
        and caches[0].key.shape[2] % mesh.shape["model"] == 0
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_or_xla(
    platform: str, query: Array, caches: tuple[KVCache, ...], mask: AttentionMask | None
) -> Array:
    """The kernel where the program is compiled for its platform, such as not for a CPU beside a GPU."""
    kernels: dict[str, Callable[..., Array]] = {
        {"gpu": "cuda", "tpu": "tpu"}[platform]: partial(kernel_on_mesh, BLOCKS[platform])
    }
    return jax.lax.platform_dependent(query, caches, mask, default=xla_attention, **kernels)


def _forward(platform: str, *args: Any) -> tuple[Array, Any]:
    return _kernel_or_xla(platform, *args), args


def _backward(_: str, args: Any, cotangent: Array) -> tuple[Any, Any, None]:
    query, caches, mask = args
    return *jax.vjp(lambda q, c: xla_attention(q, c, mask), query, caches)[1](cotangent), None


_kernel_or_xla.defvjp(_forward, _backward)


def kernel_on_mesh(
    blocks: Blocks, query: Array, caches: tuple[KVCache, ...], mask: AttentionMask | None
) -> Array:
    """Run the kernel on each device of a mesh, for its samples and heads."""
    if mask is None:
        removed = jnp.zeros(query.shape[:2], jnp.int32) | (1 << TokenType.PAD)
        bits = jnp.zeros((query.shape[0], sum(cache.key.shape[1] for cache in caches)), jnp.int32)
    else:
        removed, bits = mask.bits()
    ends = np.cumsum([cache.key.shape[1] for cache in caches])[:-1]
    parts = jnp.split(bits, ends, axis=1)
    keys = tuple(Keys(*cache, part) for cache, part in zip(caches, parts, strict=True))
    run = partial(flash_attention, causal=mask is not None, blocks=blocks)
    mesh = jax.typeof(query).sharding.mesh
    if mesh.empty or mesh.size == 1:
        return run(query, removed, keys)
    samples, heads = PartitionSpec("data"), PartitionSpec("data", None, "model")
    specs: Any = (heads, heads, samples)
    key_specs = tuple(Keys(*specs) for _ in keys)
    split = jax.shard_map(
        run, mesh=mesh, in_specs=(heads, samples, key_specs), out_specs=heads, check_vma=False
    )
    return split(query, removed, keys)


def xla_attention(
    query: Float[Array, "b t n h"], caches: tuple[KVCache, ...], mask: AttentionMask | None
) -> Float[Array, "b t n h"]:
    """Attention by products of XLA, with at most `MAX_SCORES` scores in memory."""
    batch, tokens, heads, _ = query.shape
    rows = max(1, MAX_SCORES // (batch * heads * sum(cache.key.shape[1] for cache in caches)))
    if rows >= tokens:
        return _attend(query, caches, None if mask is None else mask.pairs())
    index = jnp.minimum(jnp.arange(-(-tokens // rows) * rows), tokens - 1).reshape(-1, rows)

    def chunk(queries: Array) -> Array:
        return _attend(query[:, queries], caches, None if mask is None else mask.pairs(queries))

    return rearrange(jax.lax.map(chunk, index), "c b r n h -> b (c r) n h")[:, :tokens]


def _attend(query: Array, caches: tuple[KVCache, ...], mask: Array | None) -> Array:
    by_key_head = rearrange(query, "b t (k g) h -> b t k g h", k=caches[0].key.shape[2])
    products: Any = {"preferred_element_type": jnp.float32, "precision": precision_of(query.dtype)}
    scores = jnp.concatenate(
        [jnp.einsum("btkgh,bskh->bktgs", by_key_head, cache.key, **products) for cache in caches],
        axis=-1,
    )
    scores = scores * query.shape[-1] ** -0.5
    if mask is None:
        weights = jax.nn.softmax(scores, axis=-1)
    else:
        mask = mask[:, None, :, None]
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        weights = jnp.where(jnp.any(mask, axis=-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0)
    ends = np.cumsum([cache.key.shape[1] for cache in caches])[:-1]
    shares = jnp.split(weights.astype(query.dtype), ends, axis=-1)
    mixture = sum(
        jnp.einsum("bktgs,bskh->btkgh", share, cache.value, **products)
        for share, cache in zip(shares, caches, strict=True)
    )
    return rearrange(jnp.asarray(mixture, query.dtype), "b t k g h -> b t (k g) h")
