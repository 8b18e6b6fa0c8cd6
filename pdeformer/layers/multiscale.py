"""The multiscale stencil: diffusion along edges of several lengths under one stability bound.

B batch, T tokens, D channels, S scales, L stacked blocks
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

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
    stable_weights,
    standardize,
    symmetric_taps,
    update_valid_tokens,
)
from pdeformer.stencil.arguments import check_flag, check_integer


class MultiScaleStencil(nnx.Module):
    """Smooth hidden states along edges of several lengths: u ← u + Σ_s α_s L^(s) u.

    L^(s) is the Neumann Laplacian of the edges of length `dilations[s]`. α_s = 1/2 sigmoid(a) softmax(w)_s, hence
    Σ_s α_s ≤ 1/2: all scales share one stability bound.

    Args:
        channels: number of channels D.
        dilations: edge lengths in tokens, different and at least 1.
        alpha: initial Σ_s α_s, 0 < alpha < 1/2, spread evenly over the scales.
        gated: if False, one a and w per channel. If True, one (a, w) = p·G + g per segment for all channels, where
            p is the mean of LN(u) over the valid tokens of the segment (of the row, without `segment_ids`), and
            G `(D, 1+S)` starts at 0. A gated layer has no causal form.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters.
        rngs: not used; the initial values are constants.

    Raises:
        ValueError: `dilations` are empty, repeated or below 1, or `alpha` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.layers import MultiScaleStencil
        >>> layer = MultiScaleStencil(1, dilations=(1, 3), alpha=0.2)  # 0.1 for distance 1 and for distance 3
        >>> u = jnp.array([[[1.0], [0.0], [0.0], [0.0]]])
        >>> [round(float(x), 3) for x in layer(u)[0, :, 0]]
        [0.8, 0.1, 0.0, 0.1]

    Reference:
        Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        channels: int,
        *,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        alpha: float = 0.10,
        gated: bool = False,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
    ):
        """Check the arguments and make the parameters."""
        check_integer("MultiScaleStencil: channels", channels, minimum=0)
        check_dtypes("MultiScaleStencil", dtype, param_dtype)
        lengths = list(dilations) if np.iterable(dilations) else []
        are_integers = all(isinstance(k, int | np.integer) and not isinstance(k, bool) for k in lengths)
        if not lengths or not are_integers or min(lengths) < 1 or len(set(lengths)) < len(lengths):
            raise ValueError(
                f"dilations are different lengths >= 1, got {dilations!r}; pass integers, as the default (1, 2, 4, 8)."
            )
        dilations = tuple(int(k) for k in lengths)
        check_alpha(alpha, "MultiScaleStencil", closed=False)
        self.dilations, self.gated, self.channels, self.dtype = dilations, gated, channels, dtype
        scales = len(dilations)
        bias = jnp.concatenate([jnp.full((1,), logit(alpha / MAX_WEIGHT_SUM)), jnp.zeros((scales,))])
        bias = bias.astype(param_dtype)
        self.weights = nnx.Param(bias if gated else jnp.tile(bias[:, None], (1, channels)))
        self.gate = nnx.Param(jnp.zeros((channels, 1 + scales), param_dtype)) if gated else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: True unless it is `gated`."""
        return not self.gated

    @property
    def radius(self) -> int:
        """Number of tokens to either side that one call reads: the largest dilation, unless the layer is `gated`."""
        return max(self.dilations)

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
            ValueError: `causal` is True and the layer is `gated`, or a shape or dtype does not fit.
        """
        check_flag("causal", causal)
        if causal and self.gated:
            raise ValueError(
                "MultiScaleStencil(gated=True) has no causal form: it pools all tokens; use gated=False."
            )

        def change(u: Array, ids: Array | None) -> Array:
            return diffuse(u, ids, self.dilations, self._weights(u, ids), causal=causal)

        return update_valid_tokens(
            change, u, segment_ids, self.dtype, name="MultiScaleStencil", channels=self.channels
        )

    def _weights(self, u: Array, segment_ids: Array | None) -> Array:
        """Return α, `(S, 1, 1, D)`, or `(S, B, T, 1)` if every segment has its own."""
        weights = at_least_float32(self.weights)
        if self.gate is None:
            return stable_weights(weights)[:, None, None]
        logits = (
            jnp.matmul(
                _segment_mean(standardize(u), segment_ids), at_least_float32(self.gate), precision="highest"
            )
            + weights[None, None]
        )
        return jnp.moveaxis(stable_weights(logits[..., None]), -2, 0)

    def taps(self) -> Float[Array, "*l d k"]:
        """Return the weights of tokens j-m … j+m far from walls, where m is the largest dilation.

        Returns:
            (D, 2m+1), or (1, 2m+1) for a gated layer, at p·G = 0; with a leading axis L for a layer stacked over
            L blocks.
        """
        weights = at_least_float32(self.weights)
        weights = weights[..., None] if self.gated else weights
        return symmetric_taps(stable_weights(weights), self.dilations)


def _segment_mean(u: Array, segment_ids: Array | None) -> Array:
    """Return the mean of u over the segment of every token: `(B, T, D)`, or `(B, 1, D)` without segments.

    Segment ids may be any integers, and a segment may have holes.
    """
    if segment_ids is None:
        return jnp.mean(u, axis=-2, keepdims=True)

    def mean(u: Array, ids: Array) -> Array:
        segment = jnp.searchsorted(jnp.sort(ids), ids)  # 0 … T-1, equal for equal ids
        total = jax.ops.segment_sum(u, segment, ids.size)
        count = jax.ops.segment_sum(jnp.ones_like(u[:, :1]), segment, ids.size)
        return (total / jnp.maximum(count, 1))[segment]

    return jax.vmap(mean)(u, segment_ids)
