"""The encoder layer of the official models, post-LN, and its parts.

B batch, L tokens, D channels, N heads, H head width, F feed-forward width
"""

import warnings
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pdeformer.model.block import dropout as drop

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


def encoder_layer(
    x: HiddenStates,
    w: Mapping[str, Array],
    attend: Callable[[Array, Array, Array], Array],
    *,
    heads: int,
    dropout: float = 0.0,
    key: PRNGKeyArray | None = None,
) -> HiddenStates:
    """Apply a PyTorch encoder layer.

    z = LN(x + Drop(MHA(x))), y = LN(z + Drop(W₂ Drop(ReLU(W₁ z)))), with all biases.

    Args:
        x: hidden states (B, L, D).
        w: the weights of the layer under the names of `LAYER_SHAPES`.
        attend: maps query, key and value, each (B, L, N, H), to the output of attention (B, L, N, H). Dropout of the
            attention weights is its own.
        heads: number N of attention heads; it divides D.
        dropout: probability of dropping a number, in [0, 1).
        key: random key of the dropout; None: no dropout.

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
    keys = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
    query, keys_of_tokens, value = (
        projection.reshape(*x.shape[:2], heads, -1)
        for projection in jnp.split(
            affine(x, w["self_attn.in_proj_weight"], w["self_attn.in_proj_bias"]), 3, axis=-1
        )
    )
    output = attend(query, keys_of_tokens, value).reshape(x.shape)
    output = affine(output, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])
    z = layer_norm(x + drop(output, dropout, keys[0]), w["norm1.weight"], w["norm1.bias"])
    inner = jax.nn.relu(affine(z, w["linear1.weight"], w["linear1.bias"]))
    output = affine(drop(inner, dropout, keys[1]), w["linear2.weight"], w["linear2.bias"])
    return layer_norm(z + drop(output, dropout, keys[2]), w["norm2.weight"], w["norm2.bias"])


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
