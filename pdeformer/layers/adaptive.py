"""The adaptive stencil: a learned symmetric smoothing kernel per channel, of width 3, 5 or 7.

B batch, T tokens, D channels, K offsets, L stacked blocks
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pdeformer import stencil
from pdeformer.integrators.sequence_parallel import map_with_halo, sequence_shards
from pdeformer.layers.signature import InitSignature
from pdeformer.layers.stable_stencil import (
    MAX_WEIGHT_SUM,
    HiddenStates,
    Segments,
    at_least_float32,
    check_alpha,
    check_dtypes,
    diffuse,
    logit,
    standardize,
    symmetric_taps,
    update_valid_tokens,
)
from pdeformer.stencil.arguments import check_flag, check_integer


class AdaptiveStencil(nnx.Module):
    """Smooth hidden states with one learned symmetric stencil per channel c.

    u_j ← u_j + Σ_{k=1..K} κ_{k,c} [e_{j,j+k} (u_{j+k} - u_j) + e_{j-k,j} (u_{j-k} - u_j)]

    e_{i,j} = 1 when tokens i and j are in one run, else 0. κ_{k,c} = 1/2 sigmoid(a_c) softmax(w_c)_k, hence
    Σ_k κ_{k,c} ≤ 1/2 and the step is stable for every a and w.

    Args:
        channels: number of channels D.
        width: number of taps 2K+1: 3, 5 or 7.
        alpha: initial Σ_k κ, 0 < alpha < 1/2, spread evenly over k.
        free: use a depthwise kernel without constraints instead of the stencil, as a control:
            u_j + Σ_{|k|≤K} f_{k,c} u_{j+k}, where u_j itself replaces a neighbor beyond the run. It starts equal
            to the constrained layer, may leave the stable set, and has no causal form.
        input_adaptive: let the sigmoid depend on the edge: it becomes the mean of sigmoid(a_c + v·LN(u_i)) over the
            two ends i, with v starting at 0. The weights stay symmetric and their sum ≤ 1/2.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters.
        rngs: not used; the initial values are constants.

    Raises:
        ValueError: `width` is not 3, 5 or 7, `alpha` is out of range, or the layer is `free` and `input_adaptive`.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.layers import AdaptiveStencil
        >>> layer = AdaptiveStencil(1, width=5, alpha=0.4)  # weights 0.2 for neighbors at distance 1 and 2
        >>> u = jnp.array([[[1.0], [0.0], [0.0], [0.0]]])
        >>> [round(float(x), 3) for x in layer(u)[0, :, 0]]
        [0.6, 0.2, 0.2, 0.0]

    Reference:
        Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        channels: int,
        *,
        width: int = 3,
        alpha: float = 0.10,
        free: bool = False,
        input_adaptive: bool = False,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
    ):
        """Check the arguments and make the parameters."""
        check_integer("AdaptiveStencil: channels", channels, minimum=0)
        check_dtypes("AdaptiveStencil", dtype, param_dtype)
        if width not in (3, 5, 7) or isinstance(width, float):
            raise ValueError(
                f"AdaptiveStencil has width 3, 5 or 7, got {width}; for a longer reach use MultiScaleStencil."
            )
        if free and input_adaptive:
            raise ValueError("AdaptiveStencil is either free or input_adaptive, got both; drop one of them.")
        check_alpha(alpha, "AdaptiveStencil", closed=False)
        self.radius, self.free, self.input_adaptive, self.dtype = width // 2, free, input_adaptive, dtype
        if free:
            side = jnp.full((self.radius, channels), alpha / self.radius, param_dtype)
            center = jnp.full((1, channels), -2 * alpha, param_dtype)
            self.kernel = nnx.Param(jnp.concatenate([side, center, side]))
            return
        self.rate = nnx.Param(jnp.full((channels,), logit(alpha / MAX_WEIGHT_SUM), param_dtype))
        self.share = nnx.Param(jnp.zeros((self.radius, channels), param_dtype))
        self.gate = nnx.Param(jnp.zeros((channels,), param_dtype)) if input_adaptive else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: True unless it is `free`."""
        return not self.free

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
            ValueError: `causal` is True and the layer is `free`, or a shape or dtype does not fit.
        """
        check_flag("causal", causal)
        if self.free and causal:
            raise ValueError(
                "AdaptiveStencil(free=True) has no causal form: it reads later tokens; use free=False."
            )

        def change(u: Array, ids: Array | None) -> Array:
            return diffuse(u, ids, self._offsets(), self._weights(u), causal=causal)

        channels = (self.kernel if self.free else self.rate).shape[-1]
        apply = self._unconstrained_change if self.free else change
        return update_valid_tokens(
            apply, u, segment_ids, self.dtype, name="AdaptiveStencil", channels=channels
        )

    def _offsets(self) -> tuple[int, ...]:
        return tuple(range(1, self.radius + 1))

    def _weights(self, u: Array) -> Array:
        """Return κ, `(K, 1, 1, D)`, or `(K, B, T, D)` if every token has its own."""
        logit = at_least_float32(self.rate)[None, None]
        if self.gate is not None:
            logit = (
                logit
                + jnp.matmul(standardize(u), at_least_float32(self.gate), precision="highest")[..., None]
            )
        share = jax.nn.softmax(at_least_float32(self.share), axis=-2)[:, None, None]
        return MAX_WEIGHT_SUM * jax.nn.sigmoid(logit)[None] * share

    def _unconstrained_change(self, u: Array, segment_ids: Array | None) -> Array:
        kernel = at_least_float32(self.kernel)
        if sequence_shards(u.shape[-2]) > 1:
            return map_with_halo(_convolve_runs, u, segment_ids, kernel, radius=self.radius)
        return _convolve_runs(u, segment_ids, kernel)

    def taps(self) -> Float[Array, "*l d k"]:
        """Return the weights of tokens j-K … j+K far from walls.

        Returns:
            (D, 2K+1), or (L, D, 2K+1) for a layer stacked over L blocks. With `input_adaptive`, the taps of a
            token with v·LN(u) = 0.
        """
        if self.free:
            kernel = at_least_float32(self.kernel)
            return jnp.moveaxis(kernel.at[..., self.radius, :].add(1), -2, -1)
        rate = MAX_WEIGHT_SUM * jax.nn.sigmoid(at_least_float32(self.rate))
        kappa = rate[..., None, :] * jax.nn.softmax(at_least_float32(self.share), axis=-2)
        return symmetric_taps(kappa, self._offsets())


def _convolve_runs(u: Array, segment_ids: Array | None, kernel: Array) -> Array:
    """Return Σ_k f_k u_{j+k} with any kernel `(2K+1, D)`; u_j itself replaces a neighbor beyond its run."""
    radius = kernel.shape[0] // 2
    runs = None if segment_ids is None else stencil.run_ids(segment_ids)
    change = jnp.sum(kernel, axis=0)[None, None] * u
    for k in range(1, min(radius, u.shape[-2] - 1) + 1):
        edges = stencil.difference(u, k, runs)
        right, left = kernel[None, None, radius + k], kernel[None, None, radius - k]
        # the left end of an edge receives right·edges, the right end -left·edges
        change += stencil.divergence(right * edges, k) + stencil.receive((left - right) * edges, k)
    return change
