"""The multi-scale stencil: diffusion along edges of several lengths under one stability budget."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pdeformer.layers.stable_stencil import (
    BUDGET,
    Hidden,
    Segments,
    apply,
    check_alpha,
    diffuse,
    logit,
    share_budget,
    standardise,
    symmetric_taps,
)


class MultiScaleStencil(nnx.Module):
    """u ← u + Σ_s α_s L^(s) u, where L^(s) is the Neumann Laplacian with edges of length dilations[s].

    α_s = 1/2 sigmoid(a) softmax(w)_s, so Σ_s α_s ≤ 1/2: all scales share one stability budget.

    channels: D. dilations: different lengths ≥ 1. alpha: the initial Σ_s α_s in (0, 1/2), spread evenly.
    gated: False has one a and w per channel. True has (a, w) = p·G + g per segment, where p is the mean of
        LN(u) over the valid tokens of the segment (of the row, without `segment_ids`), G `(D, 1+S)` starting
        at 0. A gated layer has no causal form.
    rngs is not used: the initial values are fixed.
    """

    def __init__(
        self,
        channels: int,
        *,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        alpha: float = 0.10,
        gated: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        if not dilations or min(dilations) < 1 or len(set(dilations)) < len(dilations):
            raise ValueError(
                f"dilations are different lengths >= 1, got {dilations}; (1, 2, 4, 8) is the default."
            )
        check_alpha(alpha, "MultiScaleStencil", closed=False)
        self.dilations, self.gated = tuple(dilations), gated
        scales = len(dilations)
        bias = jnp.concatenate([jnp.full((1,), logit(alpha / BUDGET)), jnp.zeros((scales,))])
        self.weights = nnx.Param(bias if gated else jnp.tile(bias[:, None], (1, channels)))
        self.gate = nnx.Param(jnp.zeros((channels, 1 + scales))) if gated else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`."""
        return not self.gated

    def __call__(self, u: Hidden, segment_ids: Segments | None = None, *, causal: bool = False) -> Hidden:
        if causal and self.gated:
            raise ValueError(
                "MultiScaleStencil(gated=True) has no causal form: it pools all tokens; use gated=False."
            )

        def change(u: Array, runs: Array | None) -> Array:
            return diffuse(u, runs, self.dilations, self._weights(u, segment_ids), causal=causal)

        return apply(change, u, segment_ids)

    def _weights(self, u: Array, segment_ids: Array | None) -> Array:
        """α, `(S, 1, 1, D)`, or `(S, B, T, 1)` when every segment has its own."""
        weights = self.weights[...]
        if self.gate is None:
            return share_budget(weights)[:, None, None]
        logits = _segment_mean(standardise(u), segment_ids) @ self.gate[...] + weights[None, None]
        return jnp.moveaxis(share_budget(logits[..., None]), -2, 0)

    def taps(self) -> Float[Array, "*l d k"]:
        """The weights of tokens j-m … j+m far from walls, (D, 2m+1), m the largest dilation.

        Of a gated layer, `(1, 2m+1)`, at p·G = 0.
        """
        weights = self.weights[...][..., None] if self.gated else self.weights[...]
        return symmetric_taps(share_budget(weights), self.dilations)


def _segment_mean(u: Array, segment_ids: Array | None) -> Array:
    """The mean of u over every token's segment, `(B, T, D)`, for any ids; `(B, 1, D)` without segments."""
    if segment_ids is None:
        return jnp.mean(u, axis=-2, keepdims=True)

    def mean(u: Array, ids: Array) -> Array:
        number = jnp.searchsorted(jnp.sort(ids), ids)  # 0 … T-1, equal for equal ids
        total = jax.ops.segment_sum(u, number, ids.size)
        count = jax.ops.segment_sum(jnp.ones_like(u[:, :1]), number, ids.size)
        return (total / jnp.maximum(count, 1))[number]

    return jax.vmap(mean)(u, segment_ids)
