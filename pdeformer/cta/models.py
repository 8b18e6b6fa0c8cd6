"""The official models in evaluation mode: post-LN encoder layers, each followed by its PDE steps.

B batch, L tokens, D channels, N heads, H head width, S steps, V vocabulary, C classes
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Shaped

from pdeformer.cta.layer import check_mask, refine
from pdeformer.pde import is_concrete

LAYER_SHAPES = {
    "self_attn.in_proj_weight": "3D D",
    "self_attn.in_proj_bias": "3D",
    "self_attn.out_proj.weight": "D D",
    "self_attn.out_proj.bias": "D",
    "linear1.weight": "F D",
    "linear1.bias": "F",
    "linear2.weight": "D F",
    "linear2.bias": "D",
    "norm1.weight": "D",
    "norm1.bias": "D",
    "norm2.weight": "D",
    "norm2.bias": "D",
}
"""Map from the PyTorch name within one encoder layer to its shape; D is the width, F the feed-forward width."""

HiddenStates: TypeAlias = Float[Array, "b l d"]
Mask: TypeAlias = Bool[Array, "#b #n #l k"]  # query l may attend to key k


class Weights(NamedTuple):
    """A checkpoint under its PyTorch names, with the layers stacked.

    Example:
        >>> from pdeformer import cta
        >>> cta.Weights._fields
        ('embedding', 'positions', 'layers', 'steps', 'fc')
    """

    embedding: Float[Array, "v d"]
    """Token embedding (V, D)."""
    positions: Float[Array, "1 m d"]
    """Learned positions (1, longest sequence, D)."""
    layers: dict[str, Array]
    """Map from a name within an encoder layer (`LAYER_SHAPES`) to the weights of all layers, stacked on axis 0."""
    steps: dict[str, Array]
    """Map from "alpha" and, if the equation has it, "beta" to one coefficient per layer and step, (layers, S)."""
    fc: dict[str, Array]
    """The head: "weight" (C, D), or (V, D) in a language model, and "bias"."""


class _Official(nnx.Module):
    """An embedding plus positions, then encoder layers, each followed by its PDE steps."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int, causal: bool):
        """Keep the weights as parameters.

        Raises:
            ValueError: `heads` does not divide the width.
        """
        width = weights.embedding.shape[1]
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width {width}, got {heads}; give the heads it was trained with."
            )
        self.kind, self.heads, self.causal = kind, heads, causal
        self.embedding = nnx.Param(weights.embedding)
        self.positions = nnx.Param(weights.positions)
        self.layers = nnx.Dict({name: nnx.Param(array) for name, array in weights.layers.items()})
        self.steps = nnx.Dict({name: nnx.Param(array) for name, array in weights.steps.items()})
        self.fc = nnx.Dict({name: nnx.Param(array) for name, array in weights.fc.items()})

    def hidden_states(self, input_ids: Array, mask: Array | None) -> HiddenStates:
        """Return the hidden states (B, L, D) after the last layer."""
        length = input_ids.shape[1]
        x = self.embedding[...][input_ids] + self.positions[...][:, :length]
        attend = jnp.ones((1, 1, length, length), bool) if mask is None else mask[:, None, None, :]
        if self.causal:
            attend = attend & jnp.tri(length, dtype=bool)[None, None]

        def layer(x: Array, weights: tuple[dict[str, Array], dict[str, Array]]) -> tuple[Array, None]:
            w, coefficients = weights
            x = encoder_layer(x, w, partial(attention, mask=attend), heads=self.heads)
            if self.kind is None:
                return x, None
            steps = coefficients["alpha"].shape[0]
            return refine(x, self.kind, **coefficients, steps=steps, causal=self.causal, mask=mask), None

        layers = {name: stack[...] for name, stack in self.layers.items()}
        steps = {name: stack[...] for name, stack in self.steps.items()}
        return jax.lax.scan(layer, x, (layers, steps))[0]

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

    Raises:
        ValueError: `heads` does not divide the width.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> sizes = {"D": 4, "3D": 12, "F": 8}
        >>> layers = {
        ...     name: jnp.zeros((1, *(sizes[letter] for letter in letters.split())))
        ...     for name, letters in cta.LAYER_SHAPES.items()
        ... }
        >>> fc = {"weight": jnp.zeros((3, 4)), "bias": jnp.zeros(3)}
        >>> weights = cta.Weights(jnp.zeros((11, 4)), jnp.zeros((1, 16, 4)), layers, {}, fc)
        >>> cta.OfficialClassifier(weights, kind=None, heads=2)(jnp.zeros((2, 5), int)).shape
        (2, 3)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026.
    """

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        """Keep the weights as parameters."""
        super().__init__(weights, kind=kind, heads=heads, causal=False)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b c"]:
        """Classify rows.

        Args:
            input_ids: integer ids (B, L) of the vocabulary of the checkpoint, L at most its number of positions.
            attention_mask: (B, L), 1 or True at valid tokens; None: every token is valid.

        Returns:
            Logits (B, C). A row of padding alone gives the bias of the head.

        Raises:
            ValueError: shapes do not fit, there are too many tokens, or, outside `jit`, ids are unknown.
        """
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            m = jnp.ones((*ids.shape, 1), bool) if mask is None else mask[..., None]
            mean = jnp.sum(jnp.where(m, x, 0), axis=1) / jnp.maximum(jnp.sum(m, axis=1), 1)
            return affine(mean, self.fc["weight"][...], self.fc["bias"][...])


class OfficialLM(_Official):
    """The official language model: ids (B, L) to logits (B, L, V) of the next token at every position.

    No output depends on a later token. `load_lm` makes the model from a checkpoint.

    Args:
        weights: the checkpoint, with the layers stacked; `fc` has one row per token id.
        kind: the PDE of the layers, as in `refine`; None means no PDE steps.
        heads: number of attention heads; it divides the width.

    Raises:
        ValueError: `heads` does not divide the width.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> sizes = {"D": 4, "3D": 12, "F": 8}
        >>> layers = {
        ...     name: jnp.zeros((1, *(sizes[letter] for letter in letters.split())))
        ...     for name, letters in cta.LAYER_SHAPES.items()
        ... }
        >>> fc = {"weight": jnp.zeros((11, 4)), "bias": jnp.zeros(11)}
        >>> weights = cta.Weights(jnp.zeros((11, 4)), jnp.zeros((1, 16, 4)), layers, {}, fc)
        >>> cta.OfficialLM(weights, kind=None, heads=2)(jnp.zeros((2, 5), int)).shape
        (2, 5, 11)

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025, and its code of March 2026.
    """

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        """Keep the weights as parameters."""
        super().__init__(weights, kind=kind, heads=heads, causal=True)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b l v"]:
        """Predict the next token at every position.

        Args:
            input_ids: integer ids (B, L) of the vocabulary of the checkpoint, L at most its number of positions.
            attention_mask: (B, L), 1 or True at valid tokens; None: every token is valid.

        Returns:
            Logits (B, L, V). As in PyTorch, a padded token is never a key, but it attends to the valid tokens before
            it, and therefore has logits.

        Raises:
            ValueError: shapes do not fit, there are too many tokens, or, outside `jit`, ids are unknown.
        """
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            return affine(x, self.fc["weight"][...], self.fc["bias"][...])


def encoder_layer(
    x: HiddenStates, w: Mapping[str, Array], attend: Callable[[Array, Array, Array], Array], *, heads: int
) -> HiddenStates:
    """Apply a PyTorch encoder layer without dropout.

    z = LN(x + MHA(x)), y = LN(z + W₂ ReLU(W₁ z)), with all biases.

    Args:
        x: hidden states (B, L, D).
        w: the weights of the layer under the names of `LAYER_SHAPES`.
        attend: maps query, key and value, each (B, L, N, H), to the output of attention (B, L, N, H).
        heads: number N of attention heads; it divides D.

    Returns:
        Hidden states (B, L, D).

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> sizes = {"D": 4, "3D": 12, "F": 8}
        >>> w = {
        ...     name: jnp.ones([sizes[letter] for letter in letters.split()])
        ...     for name, letters in cta.LAYER_SHAPES.items()
        ... }
        >>> cta.encoder_layer(jnp.ones((2, 5, 4)), w, lambda query, key, value: value, heads=2).shape
        (2, 5, 4)
    """
    query, key, value = (
        projection.reshape(*x.shape[:2], heads, -1)
        for projection in jnp.split(
            affine(x, w["self_attn.in_proj_weight"], w["self_attn.in_proj_bias"]), 3, axis=-1
        )
    )
    output = attend(query, key, value).reshape(x.shape)
    output = affine(output, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])
    z = layer_norm(x + output, w["norm1.weight"], w["norm1.bias"])
    inner = jax.nn.relu(affine(z, w["linear1.weight"], w["linear1.bias"]))
    output = affine(inner, w["linear2.weight"], w["linear2.bias"])
    return layer_norm(z + output, w["norm2.weight"], w["norm2.bias"])


def attention(
    query: Float[Array, "b l n h"],
    key: Float[Array, "b l n h"],
    value: Float[Array, "b l n h"],
    mask: Mask | None = None,
    **old_names: Mask,
) -> Float[Array, "b l n h"]:
    """Return softmax(QKᵀ/√H) V over the keys that the mask allows.

    Args:
        query: (B, L, N, H).
        key: (B, L, N, H).
        value: (B, L, N, H).
        mask: bool, broadcasts to (B, N, L, L): True where query l may attend to key k. None: all pairs.
        **old_names: `seen`, the old name of `mask`, for one release.

    Returns:
        (B, L, N, H). A query without keys gives 0, where PyTorch gives NaN.

    Raises:
        TypeError: an unknown keyword argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> value = jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
        >>> zeros = jnp.zeros((1, 2, 1, 1))
        >>> cta.attention(zeros, zeros, value, jnp.ones((1, 1, 2, 2), bool))[0, :, 0, 0].tolist()
        [2.0, 2.0]
    """
    for name, old_mask in old_names.items():
        if name != "seen":
            raise TypeError(f"attention() got an unexpected keyword argument {name!r}")
        warnings.warn("cta.attention(seen=...) is now mask=...", DeprecationWarning, stacklevel=2)
        mask = old_mask
    scores = jnp.einsum("blnh,bknh->bnlk", query, key) / query.shape[-1] ** 0.5
    if mask is None:
        mask = jnp.ones((1, 1, 1, key.shape[1]), bool)
    # a finite floor: with -inf the gradient of a row without keys would be NaN
    floor = jnp.finfo(scores.dtype).min
    weights = jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, floor), axis=-1), 0)
    return jnp.einsum("bnlk,bknh->blnh", weights, value)


def layer_norm(x: Array, weight: Float[Array, " d"], bias: Float[Array, " d"]) -> Array:
    """Apply LayerNorm over the last axis: (x - mean) / √(variance + 1e-5) · weight + bias."""
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-5)
    lead = (1,) * (x.ndim - 1)
    return centered * scale * weight.reshape(*lead, -1) + bias.reshape(*lead, -1)


def affine(x: Float[Array, "*b i"], weight: Float[Array, "o i"], bias: Float[Array, " o"]) -> Array:
    """Apply the affine map x Wᵀ + b, with the weight in the layout of PyTorch.

    Args:
        x: (..., inputs).
        weight: (outputs, inputs), one row per output.
        bias: (outputs,).

    Returns:
        (..., outputs).

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import cta
        >>> cta.affine(jnp.array([1.0, 2.0]), jnp.array([[3.0, 4.0]]), jnp.array([5.0])).tolist()
        [16.0]
    """
    return jnp.einsum("...i,oi->...o", x, weight) + bias.reshape(*(1,) * (x.ndim - 1), -1)
