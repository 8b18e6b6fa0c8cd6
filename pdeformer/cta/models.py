"""The official models: post-LN encoder layers, each followed by its PDE steps.

They are deterministic without a random key; with one, dropout acts where the original has it: after the sum of
embedding and positions, on the attention weights, and three times in an encoder layer.

B batch, L tokens, D channels, N heads, H head width, S steps, V vocabulary, C classes
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from pdeformer.attention import dot_product_attention
from pdeformer.cta.encoder import HiddenStates, affine, encoder_layer
from pdeformer.cta.layer import check_mask, refine
from pdeformer.cta.official_weights import Weights
from pdeformer.model.block import dropout as drop
from pdeformer.pde import is_concrete
from pdeformer.stencil.arguments import check_number

DROPOUT = 0.1
"""Official probability of dropping a number."""


class _Official(nnx.Module):
    """An embedding plus positions, then encoder layers, each followed by its PDE steps."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int, causal: bool, dropout: float):
        """Keep the weights as parameters.

        Raises:
            ValueError: `heads` does not divide the width, or the dropout is no probability below 1.
        """
        width = weights.embedding.shape[1]
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width {width}, got {heads}; give the heads it was trained with."
            )
        check_number("dropout", dropout)
        if not 0 <= dropout < 1:
            raise ValueError(
                f"dropout must lie in [0, 1), got {dropout}; the official models have {DROPOUT}."
            )
        self.kind, self.heads, self.causal, self.dropout = kind, heads, causal, dropout
        self.embedding = nnx.Param(weights.embedding)
        self.positions = nnx.Param(weights.positions)
        self.layers = nnx.Dict({name: nnx.Param(array) for name, array in weights.layers.items()})
        self.steps = nnx.Dict({name: nnx.Param(array) for name, array in weights.steps.items()})
        self.fc = nnx.Dict({name: nnx.Param(array) for name, array in weights.fc.items()})

    def hidden_states(self, input_ids: Array, mask: Array | None, key: Any = None) -> HiddenStates:
        """Return the hidden states (B, L, D) after the last layer; `key` draws the dropout."""
        layers = {name: stack[...] for name, stack in self.layers.items()}
        steps = {name: stack[...] for name, stack in self.steps.items()}
        depth = layers["norm1.weight"].shape[0]
        input_key = None if key is None else jax.random.fold_in(key, depth)
        layer_keys = None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(depth))

        def layer(x: Array, weights: tuple[dict[str, Array], dict[str, Array], Any]) -> tuple[Array, None]:
            w, coefficients, layer_key = weights
            attention_key, inner_key = (None, None) if layer_key is None else jax.random.split(layer_key)

            def attend(query: Array, keys: Array, values: Array) -> Array:
                dropout = 0.0 if attention_key is None else self.dropout
                options: Any = {"dropout": dropout, "dropout_key": attention_key, "key_segment_ids": mask}
                return dot_product_attention(query, keys, values, is_causal=self.causal, **options)

            x = encoder_layer(x, w, attend, heads=self.heads, dropout=self.dropout, key=inner_key)
            if self.kind is None:
                return x, None
            count = coefficients["alpha"].shape[0]
            return refine(x, self.kind, **coefficients, steps=count, causal=self.causal, mask=mask), None

        x = self.embedding[...][input_ids] + self.positions[...][:, : input_ids.shape[1]]
        return jax.lax.scan(layer, drop(x, self.dropout, input_key), (layers, steps, layer_keys))[0]

    def _check(self, input_ids: Any, attention_mask: Any) -> tuple[Array, Array | None]:
        """Check ids and mask, and return them as arrays.

        Raises:
            ValueError: shapes do not fit, there are too many tokens, or, outside `jit`, ids are unknown.
        """
        longest, vocabulary = self.positions.shape[1], self.embedding.shape[0]
        if jnp.ndim(input_ids) != 2 or not jnp.issubdtype(input_ids.dtype, jnp.integer):
            raise ValueError(
                f"input_ids are integers (B, L), got {input_ids.dtype} {input_ids.shape}; add a batch "
                "axis or cast."
            )
        if input_ids.shape[1] > longest:
            raise ValueError(
                f"the checkpoint has {longest} positions, got {input_ids.shape[1]} tokens; truncate."
            )
        if is_concrete(input_ids) and input_ids.size:
            values = np.asarray(
                input_ids
            )  # NumPy, because under a trace jnp would also stage concrete values
            if values.min() < 0 or values.max() >= vocabulary:
                raise ValueError(
                    f"input_ids lie in 0 … {vocabulary - 1}, got {values.min()} … {values.max()}; "
                    "use the tokenizer of the checkpoint."
                )
        return jnp.asarray(input_ids), check_mask(attention_mask, input_ids.shape, "attention_mask")


class OfficialClassifier(_Official):
    """The official classifier, from ids (B, L) to logits (B, C).

    The logits are fc(Σ m x / max(Σ m, 1)) with the mask m.

    `load_classifier` makes the model from a checkpoint.

    Args:
        weights: the checkpoint, with the layers stacked.
        kind: the PDE of the layers, as in `refine`; None means no PDE steps.
        heads: number of attention heads; it divides the width.
        dropout: probability of dropping a number, in [0, 1), when the model is called with a random key.

    Raises:
        ValueError: `heads` does not divide the width, or the dropout is out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> weights = cta.init_weights(jax.random.key(0), vocabulary=11, outputs=3, length=16)
        >>> model = cta.OfficialClassifier(weights, kind=None, heads=4)
        >>> ids = jnp.zeros((2, 5), int)
        >>> model(ids).shape, model(ids, key=jax.random.key(1)).shape  # the second one with dropout
        ((2, 3), (2, 3))

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026.
    """

    def __init__(self, weights: Weights, *, kind: str | None, heads: int, dropout: float = DROPOUT):
        """Keep the weights as parameters."""
        super().__init__(weights, kind=kind, heads=heads, causal=False, dropout=dropout)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b c"]:
        """Classify rows.

        Args:
            input_ids: integer ids (B, L) of the vocabulary of the checkpoint, L at most its number of positions.
            attention_mask: (B, L), 1 or True at valid tokens; None: every token is valid.
            key: random key of the dropout; None is deterministic, as in evaluation.

        Returns:
            Logits (B, C). A row of padding alone gives the bias of the head.

        Raises:
            ValueError: shapes do not fit, there are too many tokens, or, outside `jit`, ids are unknown.
        """
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask, key)
            m = jnp.ones((*ids.shape, 1), bool) if mask is None else mask[..., None]
            mean = jnp.sum(jnp.where(m, x, 0), axis=1) / jnp.maximum(jnp.sum(m, axis=1), 1)
            return affine(mean, self.fc["weight"][...], self.fc["bias"][...])


class OfficialLM(_Official):
    """The official language model: ids (B, L) to logits (B, L, V) of the next token at every position.

    No output depends on a later token, unless `causal` is False. `load_lm` makes the model from a checkpoint.

    Args:
        weights: the checkpoint, with the layers stacked; `fc` has one row per token id.
        kind: the PDE of the layers, as in `refine`; None means no PDE steps.
        heads: number of attention heads; it divides the width.
        causal: causal attention and causal steps. False is the first public code, in which every position reads the
            token that it predicts.
        dropout: probability of dropping a number, in [0, 1), when the model is called with a random key.

    Raises:
        ValueError: `heads` does not divide the width, or the dropout is out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> weights = cta.init_weights(jax.random.key(0), vocabulary=11, outputs=11, length=16, kind="diffusion")
        >>> cta.OfficialLM(weights, kind="diffusion", heads=4)(jnp.zeros((2, 5), int)).shape
        (2, 5, 11)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        kind: str | None,
        heads: int,
        causal: bool = True,
        dropout: float = DROPOUT,
    ):
        """Keep the weights as parameters."""
        super().__init__(weights, kind=kind, heads=heads, causal=causal, dropout=dropout)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b l v"]:
        """Predict the next token at every position.

        Args:
            input_ids: integer ids (B, L) of the vocabulary of the checkpoint, L at most its number of positions.
            attention_mask: (B, L), 1 or True at valid tokens; None: every token is valid.
            key: random key of the dropout; None is deterministic, as in evaluation.

        Returns:
            Logits (B, L, V). As in PyTorch, a padded token is never a key, but it attends to the valid tokens before
            it (to all of them if the model is not causal), and therefore has logits.

        Raises:
            ValueError: shapes do not fit, there are too many tokens, or, outside `jit`, ids are unknown.
        """
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask, key)
            return affine(x, self.fc["weight"][...], self.fc["bias"][...])
