"""The Canon layer: a residual causal depthwise convolution of four taps, a control without a stability bound.

B batch, T tokens, D channels, K taps, L stacked blocks
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pdeformer import stencil
from pdeformer.integrators.sequence_parallel import map_with_halo, sequence_shards
from pdeformer.layers.signature import InitSignature
from pdeformer.layers.stable_stencil import (
    HiddenStates,
    Segments,
    at_least_float32,
    check_dtypes,
    update_valid_tokens,
)
from pdeformer.stencil.arguments import check_flag, check_integer

TAPS = 4


class CanonLayer(nnx.Module):
    """Add a causal depthwise convolution of four taps to hidden states, a control for the diffusion layers.

    u_t ← u_t + Σ_{k=0..3} w_{k,c} u_{t-k}, with 0 in place of a token beyond the run

    The weights are any real numbers: the layer is causal with and without `causal`, and it promises neither stability
    nor conservation. All weights start at 0, so that a model with this layer starts as its baseline. The published
    code starts from the default of PyTorch, uniform in ±1/2.

    Args:
        channels: number of channels D.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters.
        rngs: not used; the initial values are constants.

    Raises:
        ValueError: `channels` is no integer ≥ 0, or a dtype is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.layers import CanonLayer
        >>> layer = CanonLayer(1)
        >>> layer.weights[...] = jnp.array([[0.0], [0.5], [0.25], [0.0]])  # lag 0 first
        >>> layer(jnp.array([[[4.0], [0.0], [0.0], [0.0]]]))[0, :, 0].tolist()
        [4.0, 2.0, 1.0, 0.0]

    Reference:
        Allen-Zhu, "Physics of Language Models: Part 4.1, Architecture Design and the Magic of Canon Layers", 2025.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        channels: int,
        *,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
    ):
        """Check the arguments and make the weights, (K, D)."""
        check_integer("CanonLayer: channels", channels, minimum=0)
        check_dtypes("CanonLayer", dtype, param_dtype)
        self.dtype = dtype
        self.weights = nnx.Param(jnp.zeros((TAPS, channels), param_dtype))

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: always True."""
        return True

    @property
    def radius(self) -> int:
        """Number of earlier tokens that one call reads: 3."""
        return TAPS - 1

    def __call__(
        self, u: HiddenStates, segment_ids: Segments | None = None, *, causal: bool = False
    ) -> HiddenStates:
        """Add the convolution.

        Args:
            u: hidden states (..., T, D), floating point.
            segment_ids: integers (..., T), broadcast against the leading axes of `u`. 0 is padding, and neighbors of
                one positive id are joined: a hole of zeros in a segment is a wall. None: one segment.
            causal: without effect, because no output depends on a later token.

        Returns:
            Hidden states (..., T, D) in the `dtype` of the layer, or that of `u`; padding is returned unchanged.

        Raises:
            ValueError: a shape or dtype does not fit.
        """
        check_flag("causal", causal)
        options: Any = dict(name="CanonLayer", channels=self.weights.shape[-1])
        return update_valid_tokens(self._change, u, segment_ids, self.dtype, **options)

    def _change(self, u: Array, segment_ids: Array | None) -> Array:
        weights = at_least_float32(self.weights)
        if sequence_shards(u.shape[-2]) > 1:
            return map_with_halo(_convolve, u, segment_ids, weights, radius=self.radius)
        return _convolve(u, segment_ids, weights)

    def taps(self) -> Float[Array, "*l d k"]:
        """Return the weights of tokens t-3 … t+3 far from walls; those of later tokens are 0.

        Returns:
            (D, 7), or (L, D, 7) for a layer stacked over L blocks.
        """
        weights = jnp.moveaxis(at_least_float32(self.weights), -2, -1)
        residual = jnp.zeros_like(weights).at[..., 0].add(1)
        return jnp.concatenate([jnp.flip(weights + residual, -1), jnp.zeros_like(weights[..., 1:])], axis=-1)


def _convolve(u: Array, segment_ids: Array | None, weights: Array) -> Array:
    """Return Σ_k w_k u_{t-k} over the tokens of the same run."""
    runs = None if segment_ids is None else stencil.run_ids(segment_ids)
    change, length = weights[0][None, None] * u, u.shape[-2]
    for k in range(1, min(len(weights), length)):
        earlier = stencil.rows(u, 0, length - k)
        if runs is not None:
            joined = runs[..., k:] == runs[..., : length - k]
            earlier = jnp.where(joined[..., None], earlier, 0)
        change -= stencil.receive(weights[k][None, None] * earlier, k)
    return change
