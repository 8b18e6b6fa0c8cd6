"""CLIP's vision tower, up to the block whose output LLaVA reads.

    u_0 = LN([class, patches·W] + positions),    u ← u + A(LN(u)),    u ← u + F(LN(u))

A is attention without a mask, and F = down(φ(up(·))) with φ(x) = x·sigmoid(1.702 x). Later blocks and the norm after
them are neither loaded nor computed.

M tiles, P patches of a tile, S = 1 + P states, C channels, N heads
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from pid.llava.config import VisionConfig
from pid.llava.model.layers import distinct, layer_norm, linear, normal, precision_of, run_layers, stack
from pid.llava.model.masked_attention import KVCache, attention


def quick_gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x·sigmoid(1.702 x), the approximation of GELU that CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x·Φ(x), with the normal distribution function Φ computed by erf."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


class VisionBlock(nnx.Module):
    """Attention and feed-forward sublayers, pre-LN, with biases."""

    def __init__(self, config: VisionConfig, *, dtype: Any, rngs: nnx.Rngs):
        """Draw the parameters."""

        def square() -> nnx.Linear:
            return linear(config.hidden_size, config.hidden_size, bias=True, dtype=dtype, rngs=rngs)

        self.heads, self.activation = config.num_heads, config.activation
        self.norm_attention = layer_norm(config.hidden_size, config.norm_eps, dtype=dtype, rngs=rngs)
        self.query, self.key, self.value, self.out = square(), square(), square(), square()
        self.norm_ffn = layer_norm(config.hidden_size, config.norm_eps, dtype=dtype, rngs=rngs)
        self.up = linear(config.hidden_size, config.mlp_dim, bias=True, dtype=dtype, rngs=rngs)
        self.down = linear(config.mlp_dim, config.hidden_size, bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, u: Float[Array, "m s c"]) -> Float[Array, "m s c"]:
        """Apply the block to the states of M tiles."""
        normed = self.norm_attention(u)
        query, key, value = (
            rearrange(project(x), "m s (n h) -> m s n h", n=self.heads)
            for project, x in zip((self.query, self.key, self.value), distinct(normed, 3), strict=True)
        )
        mixture = attention(query, (KVCache(key, value),), None)
        u = u + self.out(rearrange(mixture, "m s n h -> m s (n h)"))
        return u + self.down(ACTIVATIONS[self.activation](self.up(self.norm_ffn(u))))


class VisionTower(nnx.Module):
    """CLIP's vision tower: tiles of pixels → one feature vector per patch."""

    def __init__(self, config: VisionConfig, *, dtype: Any, rngs: nnx.Rngs):
        """Draw the parameters."""
        width = config.hidden_size
        patch = (width, config.channels, config.patch_size, config.patch_size)
        self.config, self.dtype = config, dtype
        self.patches = nnx.Param(normal(rngs.params(), patch, dtype))
        self.class_embedding = nnx.Param(normal(rngs.params(), (width,), dtype))
        self.positions = nnx.Param(normal(rngs.params(), (1 + config.patches, width), dtype))
        self.norm = layer_norm(width, config.norm_eps, dtype=dtype, rngs=rngs)
        self.blocks: Any = (
            stack(lambda rngs: VisionBlock(config, dtype=dtype, rngs=rngs), config.depth, rngs)
            if config.depth
            else None
        )

    def states(self, pixels: Float[Array, "m colors y x"]) -> Float[Array, "p m s c"]:
        """The input of the first block and the output of each block.

        Their shape is `(depth + 1, M, 1 + P, C)`, with CLS first. As in Hugging Face, pixels beyond the last whole
        patch are not read.
        """
        size = self.config.patch_size
        pixels = pixels[..., : self.config.side * size, : self.config.side * size]
        patches = rearrange(pixels.astype(self.dtype), "m c (i y) (j x) -> m (i j) (c y x)", y=size, x=size)
        kernel = rearrange(self.patches[...], "d c y x -> (c y x) d")
        u = jnp.matmul(patches, kernel, precision=precision_of(patches.dtype))
        first = jnp.broadcast_to(self.class_embedding[...][None, None], (u.shape[0], 1, u.shape[2]))
        u = self.norm(jnp.concatenate([first, u], axis=1) + self.positions[...][None])
        if self.blocks is None:
            return u[None]

        def run(block: VisionBlock, u: Array) -> tuple[Array, Array]:
            u = block(u)
            return u, u

        return jnp.concatenate([u[None], run_layers(self.blocks, run, u)[1]])

    def __call__(self, pixels: Float[Array, "m colors y x"]) -> Float[Array, "m s c"]:
        """The features of the P patches: the last state without CLS."""
        return self.states(pixels)[-1, :, 1:]
