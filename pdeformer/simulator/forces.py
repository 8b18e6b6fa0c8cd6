"""The terms of ∂u/∂t = D ∂²u/∂x² + λ Attention(N(u)) + FeedForward(N(u)) in one layer.

B batch, T tokens, D channels
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.fft import dct, idct
from jaxtyping import Array, Float, Int

from pdeformer import stencil
from pdeformer.model.block import Block
from pdeformer.simulator.config import Coefficients, SimulatorConfig

Force = Callable[[Array], Array]


class Forces(NamedTuple):
    """The terms of one layer as functions of the state."""

    attention: Force
    feed_forward: Force
    diffusion: Force

    def total(self, *, with_diffusion: bool) -> Force:
        """Return their sum; `with_diffusion` False leaves the diffusion to a flow of its own."""

        def total(u: Array) -> Array:
            force = self.attention(u) + self.feed_forward(u)
            return force + self.diffusion(u) if with_diffusion else force

        return total


def forces_of(
    block: Block, c: Coefficients, config: SimulatorConfig, segment_ids: Int[Array, "b t"] | None
) -> Forces:
    """Return the terms of one layer; with norm "pre", N is LayerNorm, else the identity."""
    pre = config.norm == "pre"

    def attention(u: Array) -> Array:
        output = block.attention(block.norm_attention(u) if pre else u, segment_ids, key=None)
        return jnp.multiply(c.attention, output)

    def feed_forward(u: Array) -> Array:
        return jnp.multiply(c.feed_forward, block.ffn(block.norm_ffn(u) if pre else u, key=None))

    def diffusion(u: Array) -> Array:
        rate = diffusivity(c, u)
        if config.causal:
            runs = None if segment_ids is None else stencil.run_ids(segment_ids)
            return rate * stencil.receive(stencil.difference(u, 1, runs))
        graph = stencil.path(u.shape[-2], segment_ids, "neumann", ndim=u.ndim)
        return rate * stencil.laplacian(u, graph)

    return Forces(attention, feed_forward, diffusion)


def diffusivity(c: Coefficients, u: Float[Array, "b t d"]) -> Float[Array, "1 1 _"]:
    """Return D with the rank of the state: one number, or one per channel."""
    return jnp.asarray(c.diffusion, u.dtype).reshape(1, 1, -1)


def heat_flow(u: Float[Array, "b t d"], c: Coefficients, kind: str) -> Float[Array, "b t d"]:
    """Return the state after diffusion for the time dt, without a bound on D dt.

    On the cosine modes of walls at both ends, whose eigenvalues are μ = -4 sin²(πk / 2T), the factors are
    exp(dt D μ) (exact) and 1 / (1 - dt D μ) (implicit Euler).

    Args:
        u: the state.
        c: coefficients.
        kind: "exact" or "implicit".
    """
    tokens = u.shape[-2]
    rate = -4 * jnp.sin(jnp.pi * jnp.arange(tokens, dtype=u.dtype)[None, :, None] / (2 * tokens)) ** 2
    exponent = diffusivity(c, u) * c.dt * rate
    factors = jnp.exp(exponent) if kind == "exact" else 1 / (1 - exponent)
    return idct(factors * dct(u, axis=-2, norm="ortho"), axis=-2, norm="ortho").astype(u.dtype)
