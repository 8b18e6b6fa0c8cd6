"""The heat layer: explicit Euler steps of the 1-D heat equation with a fixed or learned diffusivity.

B batch, T tokens, D channels, L stacked blocks, n steps
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from pdeformer.integrators.sequence_parallel import evolve_on_mesh
from pdeformer.layers.signature import InitSignature
from pdeformer.layers.stable_stencil import (
    MAX_WEIGHT_SUM,
    HiddenStates,
    Segments,
    at_least_float32,
    broadcast_segments,
    check_alpha,
    check_dtypes,
    check_hidden_states,
    logit,
)
from pdeformer.pde import Diffusion


class HeatLayer(nnx.Module):
    """Smooth hidden states with explicit Euler steps of the heat equation: u ← (I + αL)^steps u.

    L is the Neumann Laplacian of the token path. The step is non-expansive, and it conserves the sum over the
    tokens of every run. With `causal=True` the layer applies the half-line heat kernel of `evolve`; for one step
    that is u_t ← (1 - α) u_t + α u_{t-1}.

    Args:
        alpha: diffusivity α in tokens² per step, 0 < α ≤ 1/2. With `learned`, the initial value of
            α = 1/2 sigmoid(a), and α < 1/2.
        learned: learn α, one number for all channels; otherwise α is constant.
        steps: number of explicit Euler steps, at least 1.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters.
        rngs: not used; the initial value is a constant.

    Raises:
        ValueError: `alpha` is outside its range, or `steps` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.layers import HeatLayer
        >>> u = jnp.array([[[4.0], [0.0], [0.0]]])  # one row, three tokens, one channel
        >>> HeatLayer(0.25)(u)[0, :, 0].tolist()
        [3.0, 1.0, 0.0]

    Reference:
        Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        alpha: float = 0.25,
        *,
        learned: bool = False,
        steps: int = 1,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
    ):
        """Check the arguments and make the parameter, if any."""
        check_alpha(alpha, "HeatLayer", closed=not learned)
        check_dtypes("HeatLayer", dtype, param_dtype)
        if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
            raise ValueError(
                f"HeatLayer needs at least one step, got steps={steps!r}; pass an integer, or leave the layer out."
            )
        self.initial_alpha, self.steps, self.dtype = alpha, steps, dtype
        rate = logit(alpha / MAX_WEIGHT_SUM) if learned else 0.0
        self.rate = nnx.Param(jnp.asarray(rate, param_dtype)) if learned else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: always True."""
        return True

    @property
    def radius(self) -> int:
        """Number of tokens to either side that one call reads: the steps."""
        return self.steps

    @property
    def alpha(self) -> float | Float[Array, "*l"]:
        """The current diffusivity α; `(L,)` for a learned layer stacked over L blocks."""
        if self.rate is None:
            return self.initial_alpha
        return MAX_WEIGHT_SUM * jax.nn.sigmoid(at_least_float32(self.rate))

    def __call__(
        self, u: HiddenStates, segment_ids: Segments | None = None, *, causal: bool = False
    ) -> HiddenStates:
        """Smooth hidden states.

        Args:
            u: hidden states (..., T, D), floating point.
            segment_ids: integers (..., T), broadcast against the leading axes of `u`. 0 is padding, and neighbors of
                one positive id are joined: a hole of zeros in a segment is a wall. None: one segment.
            causal: no output depends on a later token.

        Returns:
            Hidden states (..., T, D) in the `dtype` of the layer, or that of `u`; padding is returned unchanged.

        Raises:
            ValueError: a shape or dtype does not fit.
        """
        u = jnp.asarray(u)
        check_hidden_states(u, "HeatLayer")
        ids = None if segment_ids is None else broadcast_segments(segment_ids, u.shape[:-1])
        after = evolve_on_mesh(u, Diffusion(self.alpha), steps=self.steps, segment_ids=ids, causal=causal)
        return after if self.dtype is None else after.astype(self.dtype)

    def taps(self) -> Float[Array, "*l k"]:
        """Return the weights of tokens j-n … j+n far from walls: the n-fold convolution of (α, 1-2α, α).

        Returns:
            (2n+1,) with n = steps, or (L, 2n+1) for a learned layer stacked over L blocks.
        """
        alpha = jnp.asarray(self.alpha)
        step = jnp.stack([alpha, 1 - 2 * alpha, alpha], axis=-1)
        taps = step
        for _ in range(self.steps - 1):
            taps = _convolve(taps, step)
        return taps


def _convolve(a: Array, b: Array) -> Array:
    """Return the full convolution along the last axis; the leading axes are equal."""
    pad = ((0, 0),) * (a.ndim - 1)
    terms = [jnp.pad(a * b[..., k : k + 1], (*pad, (k, b.shape[-1] - 1 - k))) for k in range(b.shape[-1])]
    return jnp.sum(jnp.stack(terms), axis=0)
