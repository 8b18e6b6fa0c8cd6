"""CLIP's vision tower, up to the block whose output LLaVA reads.

    u_0 = LN([class, patches·W] + positions),    u ← u + A(LN(u)),    u ← u + F(LN(u))

with attention A without a mask and F = down(φ(up(·))), φ(x) = x·sigmoid(1.702 x). Blocks beyond that one and the
norm behind them are neither loaded nor computed.

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
from pid.llava.model.layers import layer_norm, linear, normal, stack


def quick_gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x·sigmoid(1.702 x), the cheap Gaussian error unit that CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x·Φ(x), by the error function."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


class VisionBlock(nnx.Module):
    """Attention and feed-forward sublayers, pre-LN, with biases."""

    def __init__(self, config: VisionConfig, *, dtype: Any, rngs: nnx.Rngs):
        def square() -> nnx.Linear:
            return linear(config.width, config.width, bias=True, dtype=dtype, rngs=rngs)

        self.heads, self.activation = config.heads, config.activation
        self.norm_attention = layer_norm(config.width, config.eps, dtype=dtype, rngs=rngs)
        self.query, self.key, self.value, self.out = square(), square(), square(), square()
        self.norm_ffn = layer_norm(config.width, config.eps, dtype=dtype, rngs=rngs)
        self.up = linear(config.width, config.ffn, bias=True, dtype=dtype, rngs=rngs)
        self.down = linear(config.ffn, config.width, bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, u: Float[Array, "m s c"]) -> Float[Array, "m s c"]:
        normed = self.norm_attention(u)
        query, key, value = (
            rearrange(project(normed), "m s (n h) -> m s n h", n=self.heads)
            for project in (self.query, self.key, self.value)
        )
        mixed = jax.nn.dot_product_attention(query, key, value)
        u = u + self.out(rearrange(mixed, "m s n h -> m s (n h)"))
        return u + self.down(ACTIVATIONS[self.activation](self.up(self.norm_ffn(u))))


class Vision(nnx.Module):
    """Tiles of pixels → one feature vector per patch."""

    def __init__(self, config: VisionConfig, *, dtype: Any, rngs: nnx.Rngs):
        patch = (config.width, config.channels, config.patch_size, config.patch_size)
        self.config, self.dtype = config, dtype
        self.patches = nnx.Param(normal(rngs.params(), patch, dtype))
        self.class_embedding = nnx.Param(normal(rngs.params(), (config.width,), dtype))
        self.positions = nnx.Param(normal(rngs.params(), (1 + config.patches, config.width), dtype))
        self.norm = layer_norm(config.width, config.eps, dtype=dtype, rngs=rngs)
        self.blocks = stack(lambda rngs: VisionBlock(config, dtype=dtype, rngs=rngs), config.depth, rngs)

    def states(self, pixels: Float[Array, "m colours y x"]) -> Float[Array, "p m s c"]:
        """What enters the first block, and the output of each: `(depth + 1, M, 1 + P, C)`, CLS first."""
        size = self.config.patch_size
        patches = rearrange(pixels.astype(self.dtype), "m c (i y) (j x) -> m (i j) (c y x)", y=size, x=size)
        u = patches @ rearrange(self.patches[...], "d c y x -> (c y x) d")
        first = jnp.broadcast_to(self.class_embedding[...][None, None], (u.shape[0], 1, u.shape[2]))
        u = self.norm(jnp.concatenate([first, u], axis=1) + self.positions[...][None])
        graphdef, params = nnx.split(self.blocks)

        def run(u: Array, params: Any) -> tuple[Array, Array]:
            u = nnx.merge(graphdef, params)(u)
            return u, u

        return jnp.concatenate([u[None], jax.lax.scan(run, u, params)[1]])

    def __call__(self, pixels: Float[Array, "m colours y x"]) -> Float[Array, "m s c"]:
        """The features of the P patches: the last state without CLS."""
        return self.states(pixels)[-1, :, 1:]
