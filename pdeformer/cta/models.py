"""The official models in evaluation mode: post-LN encoder layers, each followed by its steps.

B batch, L tokens, D channels, N heads, H head width, S steps, V vocabulary, C classes
"""

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

# one encoder layer under the PyTorch names; D width, F feed-forward width
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

Hidden: TypeAlias = Float[Array, "b l d"]
Seen: TypeAlias = Bool[Array, "#b #n #l k"]  # key k is seen by query l


class Weights(NamedTuple):
    """A checkpoint under its PyTorch names, the layers stacked."""

    embedding: Float[Array, "v d"]
    positions: Float[Array, "1 m d"]
    layers: dict[str, Array]  # name within an encoder layer -> (layers, …)
    steps: dict[str, Array]  # "alpha", "beta" -> (layers, S)
    fc: dict[str, Array]  # "weight" (C or V, D), "bias"


class _Official(nnx.Module):
    """Embedding plus positions, then per layer: encoder layer, PDE steps."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int, causal: bool):
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

    def hidden_states(self, input_ids: Array, mask: Array | None) -> Hidden:
        """What the head reads."""
        length = input_ids.shape[1]
        x = self.embedding[...][input_ids] + self.positions[...][:, :length]
        seen = jnp.ones((1, 1, length, length), bool) if mask is None else mask[:, None, None, :]
        if self.causal:
            seen = seen & jnp.tri(length, dtype=bool)[None, None]

        def layer(x: Array, weights: tuple[dict[str, Array], dict[str, Array]]) -> tuple[Array, None]:
            w, coefficients = weights
            x = encoder_layer(x, w, partial(attention, seen=seen), heads=self.heads)
            if self.kind is None:
                return x, None
            steps = coefficients["alpha"].shape[0]
            return refine(x, self.kind, **coefficients, steps=steps, causal=self.causal, mask=mask), None

        layers = {name: stack[...] for name, stack in self.layers.items()}
        steps = {name: stack[...] for name, stack in self.steps.items()}
        return jax.lax.scan(layer, x, (layers, steps))[0]

    def _check(self, input_ids: Any, attention_mask: Any) -> tuple[Array, Array | None]:
        """Ids and mask as arrays.

        Raises:
            ValueError: shapes that do not fit, too many tokens, and outside `jit` unknown ids.
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
            values = np.asarray(input_ids)  # NumPy: under a trace jnp would stage even what is known
            if values.min() < 0 or values.max() >= vocabulary:
                raise ValueError(
                    f"input_ids lie in 0 … {vocabulary - 1}, got {values.min()} … {values.max()}; "
                    "use the tokenizer of the checkpoint."
                )
        return jnp.asarray(input_ids), check_mask(attention_mask, input_ids.shape, "attention_mask")


class OfficialClassifier(_Official):
    """One label per row: (B, L) -> logits (B, C), fc(Σ m x / max(Σ m, 1)) with the mask m."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        super().__init__(weights, kind=kind, heads=heads, causal=False)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b c"]:
        """Logits; `attention_mask` (B, L) is 1 at valid tokens, None = all. A row of padding alone gives the bias."""
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            m = jnp.ones((*ids.shape, 1), bool) if mask is None else mask[..., None]
            mean = jnp.sum(jnp.where(m, x, 0), axis=1) / jnp.maximum(jnp.sum(m, axis=1), 1)
            return affine(mean, self.fc["weight"][...], self.fc["bias"][...])


class OfficialLM(_Official):
    """The next token at every position: (B, L) -> logits (B, L, V) that no later token reaches."""

    def __init__(self, weights: Weights, *, kind: str | None, heads: int):
        super().__init__(weights, kind=kind, heads=heads, causal=True)

    def __call__(
        self,
        input_ids: Shaped[Array | np.ndarray, "*b"],
        attention_mask: Shaped[Array | np.ndarray, "*m"] | None = None,
    ) -> Float[Array, "b l v"]:
        """Logits; `attention_mask` (B, L) is 1 at valid tokens, None = all. As in PyTorch, a padded token is
        never a key, but attends to the valid ones before it, so it has logits too."""
        ids, mask = self._check(input_ids, attention_mask)
        with jax.default_matmul_precision("highest"):
            x = self.hidden_states(ids, mask)
            return affine(x, self.fc["weight"][...], self.fc["bias"][...])


def encoder_layer(
    x: Hidden, w: Mapping[str, Array], attend: Callable[[Array, Array, Array], Array], *, heads: int
) -> Hidden:
    """A PyTorch encoder layer without dropout: z = LN(x + MHA(x)), y = LN(z + W₂ ReLU(W₁ z)), biases everywhere.

    `attend(query, key, value)` mixes values (B, L, N, H).
    """
    query, key, value = (
        part.reshape(*x.shape[:2], heads, -1)
        for part in jnp.split(
            affine(x, w["self_attn.in_proj_weight"], w["self_attn.in_proj_bias"]), 3, axis=-1
        )
    )
    mixed = attend(query, key, value).reshape(x.shape)
    mixed = affine(mixed, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])
    z = layer_norm(x + mixed, w["norm1.weight"], w["norm1.bias"])
    inner = jax.nn.relu(affine(z, w["linear1.weight"], w["linear1.bias"]))
    reacted = affine(inner, w["linear2.weight"], w["linear2.bias"])
    return layer_norm(z + reacted, w["norm2.weight"], w["norm2.bias"])


def attention(
    query: Float[Array, "b l n h"], key: Float[Array, "b l n h"], value: Float[Array, "b l n h"], seen: Seen
) -> Float[Array, "b l n h"]:
    """softmax(QKᵀ/√H) V over the keys that are seen; a query that sees none gets 0, where PyTorch gives NaN."""
    scores = jnp.einsum("blnh,bknh->bnlk", query, key) / query.shape[-1] ** 0.5
    # a finite floor: with -inf the gradient of a row without keys would be NaN
    floor = jnp.finfo(scores.dtype).min
    weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, floor), axis=-1), 0)
    return jnp.einsum("bnlk,bknh->blnh", weights, value)


def layer_norm(x: Array, weight: Float[Array, " d"], bias: Float[Array, " d"]) -> Array:
    """(x - mean) / √(variance + 1e-5) · weight + bias over the last axis."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-5)
    lead = (1,) * (x.ndim - 1)
    return centred * scale * weight.reshape(*lead, -1) + bias.reshape(*lead, -1)


def affine(x: Float[Array, "*b i"], weight: Float[Array, "o i"], bias: Float[Array, " o"]) -> Array:
    """x Wᵀ + b: a weight has one row per output."""
    return jnp.einsum("...i,oi->...o", x, weight) + bias.reshape(*(1,) * (x.ndim - 1), -1)
