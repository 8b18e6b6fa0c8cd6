"""`CausalLM`: a causal trunk with a head over the vocabulary, and its decoding. Logits are float32.

B batch, T tokens, V vocabulary
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from pdeformer.model.block import named_key
from pdeformer.model.config import ModelConfig
from pdeformer.model.lm_cache import LMCache, NewIds, check_new_tokens, decode_tokens, make_cache
from pdeformer.model.trunk import Segments, Tokens, Trunk


class CausalLM(Trunk):
    """A causal language model: `(B, T)` tokens to `(B, T, V)` logits of the next token at every position.

    No output depends on a later token. Every diffusion layer runs in its causal form. `decode` gives the same logits
    token by token, over a cache of the earlier tokens.

    Args:
        config: sizes and options.
        rngs: the seed; every component derives its key from one key of the stream `params`. After `train()` a stream
            that is named `dropout`, as in `nnx.Rngs(0, dropout=1)`, draws the dropout.

    Raises:
        ValueError: a placed diffusion layer or the evolved attention has no causal form, or `pooling="cls"`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import CausalLM, ModelConfig
        >>> model = CausalLM(ModelConfig(vocabulary=16, width=8, layers=1), rngs=nnx.Rngs(0))
        >>> jax.eval_shape(model, jnp.ones((2, 5), int)).shape
        (2, 5, 16)
        >>> logits, cache = model.decode(jnp.ones((2, 4), int), model.init_cache(batch=2, max_len=8))  # a prompt
        >>> logits, cache = model.decode(jnp.argmax(logits[:, -1], axis=-1), cache)  # one token per row
        >>> logits.shape, int(cache.length)
        ((2, 16), 5)
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        """Check that all components have a causal form, and make the parameters."""
        if config.pooling == "cls":
            raise ValueError(
                "CausalLM reads every position and has no CLS token, got pooling='cls'; use 'mean'."
            )
        if config.placements and not config.stencil.build(config.width).causal_form:
            raise ValueError(
                f"every hook of a CausalLM runs causally, and {config.stencil} has no causal form; "
                f"use free=False and gated=False."
            )
        config.attention.check(is_causal=True)
        key = rngs.params()
        super().__init__(config, rngs, key, causal=True)
        self.head = nnx.Linear(
            config.width,
            config.vocabulary,
            use_bias=False,
            dtype=jnp.dtype(config.dtype),
            preferred_element_type=jnp.float32,
            kernel_init=nnx.initializers.xavier_uniform(),
            rngs=nnx.Rngs(named_key(key, "head")),
        )

    def __call__(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b t v"]:
        """Predict the next token at every position.

        Args:
            tokens: integer ids (B, T) in 0 … V-1, T ≤ `config.max_len`.
            segment_ids: integer (B, T); 0 is padding, equal positive ids belong together. None: one segment.
            key: draws the dropout. None means no dropout, or after `train()` a key of the stream `dropout`.

        Returns:
            float32 logits (B, T, V).

        Raises:
            ValueError: shapes, dtypes, lengths or concrete ids do not fit the config.
        """
        return self.head(self.hidden_states(tokens, segment_ids, key=key))

    def init_cache(
        self, batch: int, max_len: int | None = None, *, segments: bool = False, dtype: Any = None
    ) -> LMCache:
        """Make an empty cache for `decode`.

        Args:
            batch: number of sequences B, ≥ 1.
            max_len: number of places M of every row; None means `config.max_len`, the largest.
            segments: also store the segment id of every token and the length of every row. Needed for packed, padded
                or unequally long prompts.
            dtype: dtype of the stored keys and values; None means that of the config.

        Returns:
            A cache of length 0.

        Raises:
            ValueError: a size is below 1 or above `config.max_len`.
        """
        max_len = self.config.max_len if max_len is None else max_len
        if max_len > self.config.max_len:
            raise ValueError(
                f"a sequence has at most max_len={self.config.max_len} tokens, got a cache of {max_len}; make the "
                f"model with a larger max_len."
            )
        return make_cache(self.config, batch, max_len, segments=segments, dtype=dtype)

    def decode(
        self,
        tokens: NewIds,
        cache: LMCache,
        segment_ids: Segments | None = None,
    ) -> tuple[Float[Array, "*s v"], LMCache]:
        """Append tokens to the cache and predict the token after each of them, without dropout.

        A prompt is decoded in one call, in chunks or token by token, with the same logits as `model(tokens)`. The
        cache is a pytree of fixed shapes: it can be the carry of `lax.scan`, be donated to `jit`, and be sharded.

        Args:
            tokens: integer ids (B, T) in 0 … V-1, or (B,), one token per row.
            cache: all earlier tokens; see `init_cache`.
            segment_ids: integers of the shape of `tokens`, for a cache made with `segments`. 0 is padding; after the
                last token of a row it takes no place, so right-padded prompts of unequal length continue as each would
                alone. None means 1.

        Returns:
            float32 logits (B, T, V), or (B, V) for tokens (B,), and the cache with the new tokens. The logits at
            padding have no meaning. Under jit, a cache that overflows makes the logits NaN.

        Raises:
            ValueError: shapes, dtypes or concrete ids do not fit, or the new tokens do not fit the cache.

        Example:
            >>> import jax, jax.numpy as jnp, numpy as np
            >>> from flax import nnx
            >>> from pdeformer import CausalLM, ModelConfig
            >>> model = CausalLM(ModelConfig(vocabulary=16, width=8, layers=1), rngs=nnx.Rngs(0))
            >>> prompt, ids = np.array([[3, 1, 4], [1, 5, 0]]), np.array([[1, 1, 1], [1, 1, 0]])
            >>> logits, cache = model.decode(prompt, model.init_cache(2, 8, segments=True), ids)
            >>> cache.row_lengths.tolist()
            [3, 2]
            >>> last = logits[jnp.arange(2), cache.row_lengths - 1]  # logits after the last token of every row
            >>> logits, cache = model.decode(jnp.argmax(last, -1), cache)
            >>> cache.row_lengths.tolist()
            [4, 3]
        """
        tokens, ids = check_new_tokens(self, tokens, cache, segment_ids)
        one_token = tokens.ndim == 1
        if one_token:
            tokens, ids = tokens[:, None], None if ids is None else ids[:, None]
        if tokens.size == 0:
            return jnp.zeros((*tokens.shape, self.config.vocabulary)), cache
        graphdef, state = nnx.split(self)
        logits, cache = decode_tokens(graphdef, state, tokens, ids, cache)
        return logits[:, 0] if one_token else logits, cache
