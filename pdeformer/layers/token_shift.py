"""Token shift: every token moves a learned fraction of the way to its neighbor, a control without a stability bound.

B batch, T tokens, D channels, L stacked blocks
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
    check_alpha,
    check_dtypes,
    update_valid_tokens,
)
from pdeformer.stencil.arguments import check_flag, check_integer


class TokenShift(nnx.Module):
    """Mix every token with the one before it, by one learned fraction per channel c.

    u_t ← u_t + μ_c (u_{t-1} - u_t), where the first token of a run stays as it is

    The bidirectional form mixes the first half of the channels with the token before, and the others with the token
    after. μ is any real number: the step is non-expansive in the maximum norm for 0 ≤ μ ≤ 1 only, and it does not
    conserve the sum.

    Args:
        channels: number of channels D.
        alpha: initial μ, 0 < alpha ≤ 1/2.
        bidirectional: shift the second half of the channels from the token after; no causal form.
        dtype: dtype of the result; None is that of the hidden states. The arithmetic is in at least float32.
        param_dtype: dtype of the parameters.
        rngs: not used; the initial value is a constant.

    Raises:
        ValueError: `alpha` is out of range, `channels` is no integer ≥ 0, or a dtype is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.layers import TokenShift
        >>> TokenShift(1, alpha=0.25)(jnp.array([[[4.0], [0.0], [0.0]]]))[0, :, 0].tolist()
        [4.0, 1.0, 0.0]

    Reference:
        Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", 2023; Duan et al., "Vision-RWKV", 2024.
    """

    __signature__ = InitSignature()

    def __init__(
        self,
        channels: int,
        *,
        alpha: float = 0.10,
        bidirectional: bool = False,
        dtype: Any = None,
        param_dtype: Any = float,
        rngs: nnx.Rngs | None = None,
    ):
        """Check the arguments and make the fractions, (D,)."""
        check_integer("TokenShift: channels", channels, minimum=0)
        check_dtypes("TokenShift", dtype, param_dtype)
        check_alpha(alpha, "TokenShift", closed=True)
        check_flag("TokenShift: bidirectional", bidirectional)
        self.bidirectional, self.dtype = bidirectional, dtype
        self.fraction = nnx.Param(jnp.full((channels,), alpha, param_dtype))

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`: True unless it is bidirectional."""
        return not self.bidirectional

    @property
    def radius(self) -> int:
        """Number of tokens to either side that one call reads: 1."""
        return 1

    def __call__(
        self, u: HiddenStates, segment_ids: Segments | None = None, *, causal: bool = False
    ) -> HiddenStates:
        """Mix neighbors.

        Args:
            u: hidden states (..., T, D), floating point.
            segment_ids: integers (..., T), broadcast against the leading axes of `u`. 0 is padding, and neighbors of
                one positive id are joined: a hole of zeros in a segment is a wall. None: one segment.
            causal: no output depends on a later token, which is always so unless the layer is bidirectional.

        Returns:
            Hidden states (..., T, D) in the `dtype` of the layer, or that of `u`; padding is returned unchanged.

        Raises:
            ValueError: `causal` is True and the layer is bidirectional, or a shape or dtype does not fit.
        """
        check_flag("causal", causal)
        if causal and self.bidirectional:
            raise ValueError(
                "TokenShift(bidirectional=True) has no causal form: it reads later tokens; use bidirectional=False."
            )
        options: Any = dict(name="TokenShift", channels=self.fraction.shape[-1])
        return update_valid_tokens(self._change, u, segment_ids, self.dtype, **options)

    def _directions(self) -> tuple[Array, Array]:
        """Return the fraction from the token before and that from the token after, of every channel."""
        fraction = at_least_float32(self.fraction)
        channels = fraction.shape[-1]
        before = jnp.arange(channels) < (-(-channels // 2) if self.bidirectional else channels)
        before = jnp.broadcast_to(before, fraction.shape)
        return jnp.where(before, fraction, 0), jnp.where(before, 0, fraction)

    def _change(self, u: Array, segment_ids: Array | None) -> Array:
        before, after = self._directions()
        if sequence_shards(u.shape[-2]) > 1:
            return map_with_halo(_shift, u, segment_ids, before, after, radius=self.radius)
        return _shift(u, segment_ids, before, after)

    def taps(self) -> Float[Array, "*l d k"]:
        """Return the weights of tokens t-1, t, t+1 far from walls.

        Returns:
            (D, 3), or (L, D, 3) for a layer stacked over L blocks.
        """
        before, after = self._directions()
        return jnp.stack([before, 1 - before - after, after], axis=-1)


def _shift(u: Array, segment_ids: Array | None, before: Array, after: Array) -> Array:
    """Return μ_before (u_{t-1} - u_t) + μ_after (u_{t+1} - u_t) over the neighbors in the same run."""
    if u.shape[-2] < 2:
        return jnp.zeros_like(u)
    runs = None if segment_ids is None else stencil.run_ids(segment_ids)
    edges = stencil.difference(u, 1, runs)
    before, after = before[None, None], after[None, None]
    # the left end of an edge receives after·edges, the right end -before·edges
    return stencil.divergence(after * edges) + stencil.receive((before - after) * edges)
