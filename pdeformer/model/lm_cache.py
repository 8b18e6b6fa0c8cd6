"""The cache of a language model, and the decoding of new tokens over it.

Attention remembers the keys and values of all tokens. A causal diffusion layer reads only the R tokens before a token,
so each of its sites remembers its last R inputs.

    B batch, T new tokens, M places, L blocks, N heads, H head width, D channels, R remembered tokens, V vocabulary
"""

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Integer, Shaped

from pdeformer.attention import AttentionCache, init_cache
from pdeformer.attention.decode import check_capacity, check_rows
from pdeformer.model.block import BlockCache, NewTokens, decode_layer, last_tokens, sites_of
from pdeformer.model.config import POSITIONS_ONLY, ModelConfig
from pdeformer.model.positions import positions_in_segment
from pdeformer.model.trunk import Segments, Trunk
from pdeformer.stencil.arguments import convert_segment_ids

NewIds: TypeAlias = Integer[Array | np.ndarray, "*s"]


class LMCache(NamedTuple):
    """What a `CausalLM` remembers of the earlier tokens: a pytree of fixed shapes.

    Example:
        >>> from flax import nnx
        >>> from pdeformer import CausalLM, ModelConfig
        >>> model = CausalLM(ModelConfig(vocabulary=16, width=8, layers=3), rngs=nnx.Rngs(0))
        >>> cache = model.init_cache(batch=2, max_len=5)
        >>> cache.blocks.key.shape, int(cache.length), cache.max_len  # (L, B, M, N, H)
        ((3, 2, 5, 2, 4), 0, 5)
    """

    blocks: BlockCache
    """Keys, values and remembered inputs of all blocks, with a leading axis L."""
    after_embedding: Float[Array, "b r d"] | None
    """The last R inputs of the diffusion layer after the embedding, if there is one."""
    recent_ids: Int[Array, "b r"]
    """Segment ids of the last R tokens; 0 where there is none."""
    length: Int[Array, ""]
    """Number of tokens so far; of the longest row, if the rows differ."""
    segment_ids: Int[Array, "b m"] | None
    """Segment id of every token; None means that all tokens are one segment."""
    row_lengths: Int[Array, " b"] | None
    """Number of tokens of every row, with `segment_ids`; None means that all rows have `length` tokens."""
    positions_only: Float[Array, "b r d"] | None = None
    """The last R position codes, if a layer smooths the codes."""

    @property
    def max_len(self) -> int:
        """Number of places M."""
        return self.blocks.key.shape[-3]

    def take(self, rows: Shaped[Array | np.ndarray, " r"] | list) -> "LMCache":
        """Return the cache of chosen rows: the beams that go on, or one prompt for several continuations.

        Args:
            rows: integers in 0 … B-1, in any order and number.

        Returns:
            A cache of `len(rows)` rows.

        Raises:
            ValueError: rows are no list of integers, or concrete ones are out of range.
        """
        index, attention = check_rows(rows, self.recent_ids.shape[0]), self.attention().take(rows)
        codes = self.positions_only
        return self._replace(
            positions_only=None if codes is None else codes[index],
            blocks=jax.tree.map(lambda x: x[:, index], self.blocks),
            after_embedding=None if self.after_embedding is None else self.after_embedding[index],
            recent_ids=self.recent_ids[index],
            length=attention.length,
            segment_ids=attention.segment_ids,
            row_lengths=attention.row_lengths,
        )

    def attention(self) -> AttentionCache:
        """Return the cache of the attention of the first block, which has the lengths and ids of all."""
        return AttentionCache(
            self.blocks.key[0], self.blocks.value[0], self.length, self.segment_ids, self.row_lengths
        )


def make_cache(config: ModelConfig, batch: int, max_len: int, *, segments: bool, dtype: Any) -> LMCache:
    """Make an empty cache of a model.

    Raises:
        ValueError: a size is below 1, or the mixer or the position code has no decoding.
    """
    if config.mixer == "lru" or config.positions == "alibi":
        raise ValueError(
            f"decoding needs a mixer and a position code that a cache of keys serves, got mixer {config.mixer!r} with "
            f"positions {config.positions!r}; call the model on whole sequences, or use mixer='attention' with "
            f"positions='rotary'."
        )
    head_width = config.query_width // config.heads
    one = init_cache(batch, max_len, config.heads, head_width, dtype or config.dtype, segments=segments)
    key, value = (jnp.zeros((config.layers, *one.key.shape), one.key.dtype) for _ in range(2))
    radius = config.stencil.build(config.width).radius if config.placements else 0
    recent = jnp.zeros((batch, radius, config.width), config.dtype)
    stacked = config.layers, batch, radius
    # a buffer of its own for every field, because one buffer twice cannot be donated
    hooks = {
        site: jnp.zeros((*stacked, config.hook_width(site)), recent.dtype) for site in sites_of(config.hooks)
    }
    return LMCache(
        blocks=BlockCache(key, value, hooks),
        after_embedding=recent if "after_embedding" in config.placements else None,
        recent_ids=jnp.zeros((batch, radius), jnp.int32),
        length=one.length,
        segment_ids=one.segment_ids,
        row_lengths=one.row_lengths,
        # codes are at least float32, whatever the dtype of the model
        positions_only=jnp.zeros(recent.shape) if POSITIONS_ONLY in config.placements else None,
    )


def check_new_tokens(
    trunk: Trunk, tokens: NewIds, cache: LMCache, segment_ids: Segments | None
) -> tuple[Array, Array | None]:
    """Check new tokens (B, T) or (B,) and their ids, and return both as arrays.

    Raises:
        ValueError: they do not fit the model or the cache.
    """
    batch = cache.blocks.key.shape[-4]
    if np.ndim(tokens) not in (1, 2) or np.shape(tokens)[0] != batch:
        raise ValueError(
            f"the cache holds {batch} rows and needs tokens (B, T) or (B,) of them, got {np.shape(tokens)}; make a "
            f"cache of that batch."
        )
    if segment_ids is not None and np.shape(segment_ids) != np.shape(tokens):
        raise ValueError(
            f"segment_ids has the shape of tokens, {np.shape(tokens)}, got {np.shape(segment_ids)}."
        )
    if segment_ids is not None and cache.segment_ids is None:
        raise ValueError(
            "this cache remembers no segments, got segment_ids; make it with init_cache(..., segments=True)."
        )
    tokens = tokens if isinstance(tokens, jax.Array) else np.asarray(tokens)
    shape = tokens.shape
    rows = (batch, 1) if len(shape) == 1 else shape
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    if ids is None and cache.segment_ids is not None:
        ids = jnp.ones(shape, jnp.int32)
    flat, flat_ids = trunk.check(tokens.reshape(rows), None if ids is None else ids.reshape(rows))
    check_capacity(cache.attention(), rows[1], flat_ids)
    return flat.reshape(shape), None if flat_ids is None else flat_ids.reshape(shape)


@partial(jax.jit, static_argnums=0)  # compiled once for all calls outside `jit`
def decode_tokens(
    graphdef: Any,
    state: Any,
    tokens: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"] | None,
    cache: LMCache,
) -> tuple[Float[Array, "b t v"], LMCache]:
    """Return the logits of new tokens, and the cache with them."""
    model: Any = nnx.merge(graphdef, state)
    ids = jnp.ones(tokens.shape, jnp.int32) if segment_ids is None else segment_ids
    new = NewTokens(ids, cache.recent_ids, cache.attention(), _positions(cache, ids))
    code, codes = model.embed.code(new.positions), cache.positions_only
    if codes is not None:
        code, codes = decode_layer(model.positions_only, code, codes, new)
    u = model.embed.with_code(tokens, code)
    recent = cache.after_embedding
    if recent is not None:
        u, recent = decode_layer(model.after_embedding, u, recent, new)
    blocks, params = nnx.split(model.blocks)

    def run_block(carry: Any, layer: Any) -> tuple[Any, BlockCache]:
        params, block_cache = layer
        u, block_cache, attention = nnx.merge(blocks, params).decode(carry[0], block_cache, new)
        return (u, attention[2:]), block_cache

    start = u, new.attention[2:]  # lengths and ids, which are the same after every block
    (u, (length, all_ids, row_lengths)), block_caches = jax.lax.scan(run_block, start, (params, cache.blocks))
    u = u if model.norm is None else model.norm(u)
    window = jnp.concatenate([cache.recent_ids, ids], axis=1)
    recent_ids = last_tokens(window, ids, cache.recent_ids.shape[1])
    cache = LMCache(block_caches, recent, recent_ids, length, all_ids, row_lengths, codes)
    return model.head(u), cache


def _positions(cache: LMCache, ids: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """Return the number of earlier tokens of the same segment, in the cache and among the new ones."""
    if cache.segment_ids is None:
        return jnp.broadcast_to(cache.length + jnp.arange(ids.shape[1])[None], ids.shape)
    earlier = jnp.sum(cache.segment_ids[:, None, :] == ids[:, :, None], axis=2)
    return jnp.where(ids > 0, earlier + positions_in_segment(ids), 0)
