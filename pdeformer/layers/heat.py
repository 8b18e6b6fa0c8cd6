"""The heat layer: explicit Euler steps of the 1-D heat equation, its diffusivity fixed or learned."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pdeformer.integrators import evolve
from pdeformer.layers.stable_stencil import BUDGET, Hidden, Segments, check_alpha, logit
from pdeformer.pde import Diffusion


class HeatLayer(nnx.Module):
    """u ← (I + αL)^steps u: explicit Euler steps of the 1-D heat equation with Neumann walls.

    alpha: α in (0, 1/2], in tokens² per step; with `learned`, the initial value of α = 1/2 sigmoid(a), < 1/2.
    Causal: the half-line heat kernel of `evolve`; for one step u_t ← (1 - α) u_t + α u_{t-1}.
    """

    def __init__(self, alpha: float = 0.25, *, learned: bool = False, steps: int = 1):
        check_alpha(alpha, "HeatLayer", closed=not learned)
        if steps < 1:
            raise ValueError(
                f"HeatLayer needs at least one step, got steps={steps}; leave the layer out instead."
            )
        self.fixed, self.steps = alpha, steps
        self.rate = nnx.Param(jnp.asarray(logit(alpha / BUDGET), float)) if learned else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`."""
        return True

    @property
    def alpha(self) -> float | Float[Array, "*l"]:
        """The diffusivity α; `(L,)` for a learned layer stacked over L blocks."""
        return self.fixed if self.rate is None else BUDGET * jax.nn.sigmoid(self.rate[...])

    def __call__(self, u: Hidden, segment_ids: Segments | None = None, *, causal: bool = False) -> Hidden:
        return evolve(u, Diffusion(self.alpha), steps=self.steps, segment_ids=segment_ids, causal=causal)

    def taps(self) -> Float[Array, "*l k"]:
        """The weights of tokens j-n … j+n far from walls, (2n+1,), n = steps: the n-fold (α, 1-2α, α)."""
        alpha = jnp.asarray(self.alpha)
        step = jnp.stack([alpha, 1 - 2 * alpha, alpha], axis=-1)
        taps = step
        for _ in range(self.steps - 1):
            taps = _convolve(taps, step)
        return taps


def _convolve(a: Array, b: Array) -> Array:
    """Full convolution along the last axis, of leading axes alike."""
    pad = ((0, 0),) * (a.ndim - 1)
    terms = [jnp.pad(a * b[..., k : k + 1], (*pad, (k, b.shape[-1] - 1 - k))) for k in range(b.shape[-1])]
    return jnp.sum(jnp.stack(terms), axis=0)
