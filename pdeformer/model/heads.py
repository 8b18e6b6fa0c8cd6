"""The three models: a trunk and what reads it. Logits are float32.

B batch, T tokens, D channels, C classes, V vocabulary
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Integer, Key

from pdeformer.model.block import activation, named_key
from pdeformer.model.config import ModelConfig
from pdeformer.model.trunk import Segments, Tokens, Trunk
from pdeformer.pde import is_concrete


def _linear(inputs: int, outputs: int, key: Array) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.xavier_uniform(), rngs=nnx.Rngs(key))


class _Pooled(Trunk):
    """A trunk whose hidden states are pooled to one float32 vector per row."""

    def __init__(self, config: ModelConfig, key: Key[Array, ""], *, features: int, hidden: int | None):
        super().__init__(config, key, with_cls=config.pooling == "cls")
        self.activation = activation(config)
        self.hidden = None if hidden is None else _linear(features, hidden, named_key(key, "hidden"))
        self.head = _linear(hidden or features, config.classes, named_key(key, "head"))

    def pooled(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b d"]:
        """The mean hidden state over the valid tokens of a row (of all segments), or that of its CLS token.

        A row of padding alone has mean 0. Raises ValueError for packed rows with a CLS token (if concrete).
        """
        if self.config.pooling == "cls":
            _refuse_packed(segment_ids)
        u = self.hidden_states(tokens, segment_ids, key=key).astype(jnp.float32)
        if self.config.pooling == "cls":
            return u[:, 0]
        if segment_ids is None:
            return jnp.mean(u, axis=1)
        valid = (jnp.asarray(segment_ids) > 0)[..., None]
        return jnp.sum(jnp.where(valid, u, 0), axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)

    def classify(self, features: Float[Array, "b f"]) -> Float[Array, "b c"]:
        """Logits of pooled features."""
        return self.head(features if self.hidden is None else self.activation(self.hidden(features)))


class Classifier(_Pooled):
    """One label per row: `(B, T)` tokens to `(B, C)` logits."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, rngs.params(), features=config.width, hidden=config.classifier_width)

    def __call__(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b c"]:
        return self.classify(self.pooled(tokens, segment_ids, key=key))


class Matcher(_Pooled):
    """One label per pair of rows: two towers with the same weights, then an MLP on [a, b, a·b, a - b]."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        hidden = config.classifier_width or config.ffn
        super().__init__(config, rngs.params(), features=4 * config.width, hidden=hidden)

    def __call__(
        self,
        tokens_a: Tokens,
        tokens_b: Integer[Array | np.ndarray, "b s"],
        segments_a: Segments | None = None,
        segments_b: Integer[Array | np.ndarray, "b s"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b c"]:
        """Logits `(B, C)` of `(B, T)` and `(B, S)` tokens; the lengths may differ."""
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        a = self.pooled(tokens_a, segments_a, key=keys[0])
        b = self.pooled(tokens_b, segments_b, key=keys[1])
        return self.classify(jnp.concatenate([a, b, a * b, a - b], axis=-1))


class CausalLM(Trunk):
    """The next token at every position: `(B, T)` tokens to `(B, T, V)` logits that no later token reaches.

    Raises ValueError when a placed layer or the evolved attention has no causal form, and for pooling="cls".
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
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
        super().__init__(config, key, causal=True)
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
        return self.head(self.hidden_states(tokens, segment_ids, key=key))


def _refuse_packed(segment_ids: Segments | None) -> None:
    if segment_ids is None or not is_concrete(segment_ids):
        return
    ids = np.asarray(segment_ids)  # NumPy: under a trace jnp would stage even what is known
    if np.any((ids > 0) & (ids != ids.max(axis=1, keepdims=True))):
        raise ValueError(
            "a CLS token pools one segment per row, got packed rows; use pooling='mean' or unpack them."
        )
