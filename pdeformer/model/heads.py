"""`Classifier` and `Matcher`: a trunk whose hidden states are pooled, and a head. Logits are float32.

B batch, T tokens, D channels, C classes
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


class _PoolingTrunk(Trunk):
    """A trunk whose hidden states are pooled to one float32 vector per row."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, *, features: int, hidden: int | None):
        """Make the trunk, and a head with `features` inputs and a hidden layer of width `hidden`, or none."""
        key = rngs.params()
        super().__init__(config, rngs, key, with_cls=config.pooling == "cls")
        self.activation = activation(config)
        self.hidden = None if hidden is None else _linear(features, hidden, named_key(key, "hidden"))
        self.head = _linear(hidden or features, config.classes, named_key(key, "head"))

    def pooled(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b d"]:
        """Return one feature vector per row: the mean over its valid tokens, of all segments, or its CLS token.

        Args:
            tokens: integer ids (B, T) in 0 … V-1.
            segment_ids: integer (B, T); 0 is padding. None: every token is valid.
            key: draws the dropout. None means no dropout, or after `train()` a key of the stream `dropout`.

        Returns:
            float32 (B, D). The mean of a row of padding alone, or without tokens, is 0.

        Raises:
            ValueError: as in `hidden_states`, or concrete rows are packed with `pooling="cls"`.
        """
        if self.config.pooling == "cls":
            _check_one_segment(segment_ids)
        u = self.hidden_states(tokens, segment_ids, key=key).astype(jnp.float32)
        if self.config.pooling == "cls":
            return u[:, 0]
        if segment_ids is None:
            return jnp.mean(u, axis=1) if u.shape[1] else jnp.zeros_like(u, shape=(len(u), u.shape[2]))
        valid = (jnp.asarray(segment_ids) > 0)[..., None]
        return jnp.sum(jnp.where(valid, u, 0), axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)

    def classify(self, features: Float[Array, "b f"]) -> Float[Array, "b c"]:
        """Return the logits (B, C) of features (B, F)."""
        return self.head(features if self.hidden is None else self.activation(self.hidden(features)))


class Classifier(_PoolingTrunk):
    """A Transformer that predicts one label per row: `(B, T)` tokens to `(B, C)` logits.

    Args:
        config: sizes and options. `config.pooling` selects the mean over tokens or a CLS token.
        rngs: the seed; every component derives its key from one key of the stream `params`. After `train()` a stream
            that is named `dropout`, as in `nnx.Rngs(0, dropout=1)`, draws the dropout.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import Classifier, ModelConfig
        >>> config = ModelConfig(vocabulary=16, width=8, layers=1, placements=("after_embedding",))
        >>> model = Classifier(config, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 5), int)).shape
        (2, 10)
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        """Make the parameters."""
        super().__init__(config, rngs, features=config.width, hidden=config.classifier_width)

    def __call__(
        self, tokens: Tokens, segment_ids: Segments | None = None, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b c"]:
        """Classify rows.

        Args:
            tokens: integer ids (B, T) in 0 … V-1, T ≤ `config.max_len`.
            segment_ids: integer (B, T); 0 is padding, equal positive ids belong together. None: one segment.
            key: draws the dropout. None means no dropout, or after `train()` a key of the stream `dropout`.

        Returns:
            float32 logits (B, C).

        Raises:
            ValueError: shapes, dtypes, lengths or concrete ids do not fit the config, or rows are packed with a
                CLS token.
        """
        return self.classify(self.pooled(tokens, segment_ids, key=key))


class Matcher(_PoolingTrunk):
    """A Transformer that predicts one label per pair of rows, as in document matching.

    Two towers with the same weights pool each row to a vector. An MLP maps [a, b, a·b, a - b] of the vectors to
    logits.

    Args:
        config: sizes and options. The MLP has the width `classifier_width`, or `ffn` if that is None.
        rngs: the seed; every component derives its key from one key of the stream `params`. After `train()` a stream
            that is named `dropout`, as in `nnx.Rngs(0, dropout=1)`, draws the dropout.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import Matcher, ModelConfig
        >>> model = Matcher(ModelConfig(vocabulary=16, width=8, layers=1, classes=2), rngs=nnx.Rngs(0))
        >>> jax.eval_shape(model, jnp.ones((3, 5), int), jnp.ones((3, 7), int)).shape
        (3, 2)
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        """Make the parameters."""
        hidden = config.classifier_width or config.ffn
        super().__init__(config, rngs, features=4 * config.width, hidden=hidden)

    def __call__(
        self,
        tokens_a: Tokens,
        tokens_b: Integer[Array | np.ndarray, "b s"],
        segments_a: Segments | None = None,
        segments_b: Segments | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b c"]:
        """Classify pairs of rows.

        Args:
            tokens_a: integer ids (B, T) of the first rows, in 0 … V-1, T ≤ `config.max_len`.
            tokens_b: integer ids (B, S) of the second rows; S may differ from T.
            segments_a: integer (B, T); 0 is padding, equal positive ids belong together. None: one segment.
            segments_b: the same for the second rows, (B, S).
            key: draws the dropout of both towers. None means no dropout, or after `train()` a key of the stream
                `dropout`.

        Returns:
            float32 logits (B, C).

        Raises:
            ValueError: shapes, dtypes, lengths or concrete ids do not fit the config, or rows are packed with a
                CLS token.
        """
        key = self.dropout_key(key)
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        a = self.pooled(tokens_a, segments_a, key=keys[0])
        b = self.pooled(tokens_b, segments_b, key=keys[1])
        return self.classify(jnp.concatenate([a, b, a * b, a - b], axis=-1))


def _check_one_segment(segment_ids: Segments | None) -> None:
    if segment_ids is None or not is_concrete(segment_ids):
        return
    ids = np.asarray(segment_ids)  # NumPy, because under a trace jnp would also stage concrete values
    if ids.ndim != 2 or ids.size == 0:  # `hidden_states` refuses other shapes
        return
    if np.any((ids > 0) & (ids != ids.max(axis=1, keepdims=True))):
        raise ValueError(
            "a CLS token pools one segment per row, got packed rows; use pooling='mean' or unpack them."
        )
