"""The trunk of every model: embedding, positions, and the stacked blocks under one `lax.scan`.

B batch, T tokens, D channels, L blocks, V vocabulary
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Integer, Key, Shaped

from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import ambient_axes
from pdeformer.layers import Layer
from pdeformer.layers.signature import InitSignature
from pdeformer.model.block import Block, dropout, layer_norm, named_key
from pdeformer.model.config import POSITIONS_ONLY, ModelConfig
from pdeformer.model.positions import positions_in_segment, sinusoids, sinusoids_at, token_positions
from pdeformer.pde import is_concrete
from pdeformer.sharding import collect_tables, constrain_residual
from pdeformer.stencil.arguments import convert_segment_ids

Tokens: TypeAlias = Integer[Array | np.ndarray, "b t"]
Segments: TypeAlias = Shaped[Array | np.ndarray, "..."] | list


class Embedding(nnx.Module):
    """Token embedding plus positions, and optionally a learned CLS token in front.

    With sinusoidal positions, whose entries have mean square 1/2, the initial token embeddings are N(0, 1), as they
    are without a code that is added. With learned positions both are N(0, 0.02²).
    """

    def __init__(self, config: ModelConfig, key: Key[Array, ""], *, with_cls: bool):
        """Make the tables; each is drawn with the key of its name."""
        learned = config.positions == "learned"
        scale = 0.02 if learned else 1.0

        def table(name: str, rows: int) -> nnx.Embed:
            rngs = nnx.Rngs(named_key(key, name))
            return nnx.Embed(rows, config.width, embedding_init=nnx.initializers.normal(scale), rngs=rngs)

        self.tokens = table("tokens", config.vocabulary)
        self.cls = table("cls", 1) if with_cls else None
        self.positions = table("positions", config.max_len + with_cls) if learned else None
        self.added = config.positions in ("sinusoidal", "learned")
        self.dtype = config.dtype

    def __call__(
        self,
        tokens: Integer[Array, "b t"],
        segment_ids: Int[Array, "b s"] | None,
        smooth: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "b s d"]:
        """Embed tokens.

        Args:
            tokens: ids of the tokens.
            segment_ids: those of all S tokens, with a CLS token if there is one; None is one segment.
            smooth: maps the position code (B, S, D), or (1, S, D) without segments, before it is added.

        Returns:
            `(B, S, D)` with S = T, or S = 1 + T with a CLS token.
        """
        u = self.tokens(self._without_negative(tokens))
        if self.cls is not None:
            first = jnp.broadcast_to(self.cls.embedding[...][None], (u.shape[0], 1, u.shape[2]))
            u = jnp.concatenate([first, u], axis=1)
        if not self.added:
            return u.astype(self.dtype)
        table = sinusoids(*u.shape[1:]) if self.positions is None else self.positions.embedding[: u.shape[1]]
        positions = table[None] if segment_ids is None else table[positions_in_segment(segment_ids)]
        positions = positions if smooth is None else smooth(positions)
        return (u + positions).astype(self.dtype)

    def code(self, positions: Int[Array, "b t"]) -> Float[Array, "b t d"] | None:
        """Return the code that is added to tokens at the positions of their segments; None if none is added."""
        if not self.added:
            return None
        if self.positions is None:
            return sinusoids_at(positions, self.tokens.features)
        return self.positions.embedding[...][positions]

    def with_code(
        self, tokens: Integer[Array, "b t"], code: Float[Array, "b t d"] | None
    ) -> Float[Array, "b t d"]:
        """Embed tokens and add their position code."""
        u = self.tokens(self._without_negative(tokens))
        return (u if code is None else u + code).astype(self.dtype)

    def _without_negative(self, tokens: Array) -> Array:
        """Replace a negative id, which would count from the end of the table, by one beyond it, whose row is NaN."""
        return jnp.where(tokens < 0, self.tokens.num_embeddings, tokens)


class Trunk(nnx.Module):
    """Embedding, L blocks stacked on a leading layer axis, and with pre-LN a last LayerNorm."""

    __signature__ = InitSignature()

    def __init__(
        self,
        config: ModelConfig,
        rngs: nnx.Rngs,
        key: Key[Array, ""],
        *,
        causal: bool = False,
        with_cls: bool = False,
    ):
        """Make the embedding, the diffusion layer after it if there is one, and the stacked blocks.

        `key` draws the parameters. A stream of `rngs` that is named dropout draws the dropout of the training mode; it
        is stored only if it is there, because every other array of a model is a parameter.
        """

        def block(key: Key[Array, ""]) -> Block:
            return Block(config, key, causal=causal)

        self.config, self.causal = config, causal
        self.embed = Embedding(config, named_key(key, "embed"), with_cls=with_cls)

        def layer(place: str) -> Layer | None:
            return config.stencil.build(config.width) if place in config.placements else None

        self.after_embedding, self.positions_only = layer("after_embedding"), layer(POSITIONS_ONLY)
        layers = jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, "blocks"), jnp.arange(config.layers))
        self.blocks = nnx.vmap(block)(layers)
        self.norm = layer_norm(config, nnx.Rngs(named_key(key, "norm"))) if config.norm == "pre" else None
        self.deterministic = True  # the flag that `train` and `eval` of nnx set
        self.dropout_stream = rngs["dropout"].fork() if "dropout" in rngs else None

    def hidden_states(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b s d"]:
        """Return the hidden states after the last block, and with pre-LN after the last LayerNorm.

        Args:
            tokens: integer ids (B, T) in 0 … V-1.
            segment_ids: integer (B, T); 0 is padding, equal positive ids belong together. None: one segment.
            key: draws the dropout. None means no dropout, or after `train()` a key of the stream `dropout`.

        Returns:
            `(B, T, D)`, or `(B, 1+T, D)` with a CLS token in front, in the dtype of the config.

        Raises:
            ValueError: a sequence is longer than `max_len`, shapes or dtypes are wrong, or, outside `jit`, token ids
                are outside the vocabulary. Under `jit` such a token has the embedding NaN. Also after `train()`
                without a key to draw the dropout from.
        """
        key = self.dropout_key(key)
        tokens, segment_ids = self.check(tokens, segment_ids)
        if segment_ids is not None and self.embed.cls is not None:
            # the CLS token gets the only positive id of the row; padding may be on either side
            segment_ids = jnp.concatenate(
                [jnp.max(segment_ids, axis=1, keepdims=True, initial=0), segment_ids], axis=1
            )
        tokens, segment_ids, length = self._fill_shards(tokens, segment_ids)
        u = self.embedded(tokens, segment_ids)
        u = dropout(u, self.config.dropout, None if key is None else named_key(key, "embed"))
        u = self.run_blocks(u, segment_ids, key)[:, :length]
        return u if self.norm is None else self.norm(u)

    def embedded(self, tokens: Array, segment_ids: Array | None) -> Float[Array, "b s d"]:
        """Return the hidden states before the first block, after the layers at the embedding, without dropout.

        Args:
            tokens: checked ids (B, T).
            segment_ids: those of all S tokens, with a CLS token if there is one; None is one segment.

        Returns:
            `(B, S, D)`.
        """
        layer = self.positions_only
        smooth = None if layer is None else partial(layer, segment_ids=segment_ids, causal=self.causal)
        u = constrain_residual(self._embedding(tokens.size)(tokens, segment_ids, smooth))
        if self.after_embedding is not None:
            u = self.after_embedding(u, segment_ids, causal=self.causal)
        return u

    def _fill_shards(self, tokens: Array, segment_ids: Array | None) -> tuple[Array, Array | None, int]:
        """Append padding until the axis "seq" of the ambient mesh divides the sequence; return also its own length.

        The CLS token makes the lengths of most tasks odd. Padding is never read, so no result changes; only dropout
        draws other bits for another shape. Long shards get whole tiles of 128 tokens, at up to 1/16 more tokens.
        """
        length = tokens.shape[1] + (self.embed.cls is not None)
        shards = ambient_axes().get("seq", 1)
        unit = next(unit for unit in (128, 8, 1) if unit == 1 or 16 * unit * shards <= length)
        missing = -length % (unit * shards) if shards > 1 else 0
        if missing == 0:
            return tokens, segment_ids, length
        ids = jnp.ones((len(tokens), length), jnp.int32) if segment_ids is None else segment_ids
        widths = ((0, 0), (0, missing))
        return jnp.pad(tokens, widths), jnp.pad(ids, widths), length

    def _embedding(self, tokens: int) -> Embedding:
        """Return the embedding with tables that are placed for this many tokens."""
        graphdef, tables = nnx.split(self.embed)
        return nnx.merge(graphdef, collect_tables(tables, tokens))

    def set_view(self, *, deterministic: bool | None = None) -> None:
        """Set the flag of the dropout in a view of the model; `nnx.view(model, deterministic=True)` calls it."""
        if deterministic is not None:
            self.deterministic = deterministic

    def dropout_key(self, key: Key[Array, ""] | None) -> Key[Array, ""] | None:
        """Return the key of the dropout: `key`, or after `train()` one of the stream `dropout`; None is no dropout.

        Raises:
            ValueError: the model is in training mode, has dropout, and there is no key to draw it from.
        """
        rates = self.config.dropout, self.config.attention_dropout
        if key is not None or self.deterministic or not any(rates):
            return key
        if self.dropout_stream is None:
            raise ValueError(
                f"after train() a model draws dropout (rates {rates[0]} and {rates[1]} of attention) and needs a "
                f"random key, got none; pass key=..., make the model with rngs=nnx.Rngs(0, dropout=1), or call eval()."
            )
        return self.dropout_stream()

    def run_blocks(self, u: Array, segment_ids: Array | None, key: Array | None) -> Array:
        """Apply the stacked blocks one after another, by `lax.scan`."""
        if u.size == 0:
            return u
        graphdef, params = nnx.split(self.blocks)
        layers = jnp.arange(self.config.layers)
        keys = (
            None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, "blocks"), layers)
        )
        # once for all blocks
        positions = token_positions(u.shape[1], segment_ids) if self.config.positions == "rotary" else None
        remat = self.config.remat
        return _scan_blocks(u, params, keys, segment_ids, positions, graphdef=graphdef, remat=remat)

    def check(self, tokens: Tokens, segment_ids: Segments | None) -> tuple[Array, Array | None]:
        """Check tokens and their segment ids, and return both as arrays.

        Raises:
            ValueError: See `hidden_states`.
        """
        longest, vocabulary = self.config.max_len, self.config.vocabulary
        tokens = tokens if isinstance(tokens, jax.Array) else np.asarray(tokens)
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(
                f"tokens are integers (B, T), got {tokens.dtype} {tokens.shape}; add a batch axis or cast."
            )
        if tokens.shape[1] > longest:
            raise ValueError(
                f"a sequence has at most max_len={longest} tokens, got {tokens.shape[1]}; truncate it."
            )
        segment_ids = None if segment_ids is None else convert_segment_ids(segment_ids)
        if segment_ids is not None and segment_ids.shape != tokens.shape:
            raise ValueError(f"segment_ids has the shape of tokens, {tokens.shape}, got {segment_ids.shape}.")
        if is_concrete(tokens) and tokens.size:
            values = np.asarray(tokens)  # NumPy, because under a trace jnp would also stage concrete values
            low, high = values.min(), values.max()
            if low < 0 or high >= vocabulary:
                raise ValueError(
                    f"token ids lie in 0 … {vocabulary - 1}, got {low} … {high}; raise vocabulary."
                )
        return jnp.asarray(tokens), segment_ids


@compile_once("graphdef", "remat")
def _scan_blocks(
    u: Array,
    params: Any,
    keys: Array | None,
    segment_ids: Array | None,
    positions: Array | None,
    *,
    graphdef: Any,
    remat: bool,
) -> Array:
    def run_block(u: Array, layer: tuple[Any, Array | None]) -> tuple[Array, None]:
        params, key = layer
        block = nnx.merge(graphdef, params)
        return constrain_residual(block(u, segment_ids, key=key, positions=positions)), None

    return jax.lax.scan(jax.checkpoint(run_block) if remat else run_block, u, (params, keys))[0]
