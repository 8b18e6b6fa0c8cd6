"""The adaptive stencil: a learned symmetric smoothing kernel per channel, of width 3, 5 or 7."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pdeformer import stencil
from pdeformer.layers.stable_stencil import (
    BUDGET,
    Hidden,
    Segments,
    apply,
    check_alpha,
    diffuse,
    logit,
    standardise,
    symmetric_taps,
)


class AdaptiveStencil(nnx.Module):
    """u_j ← u_j + Σ_{k=1..K} κ_{k,c} [e_{j,j+k} (u_{j+k} - u_j) + e_{j-k,j} (u_{j-k} - u_j)], per channel c.

    e_{i,j} = 1 when tokens i and j are in one run. κ_{k,c} = 1/2 sigmoid(a_c) softmax(w_c)_k, Σ_k κ ≤ 1/2.

    channels: D. width: 2K+1 in {3, 5, 7}. alpha: the initial Σ_k κ in (0, 1/2), spread evenly over k.
    input_adaptive: the sigmoid becomes a property of an edge, the mean over its two ends i of
        sigmoid(a_c + v·LN(u_i)), v starting at 0; the weights stay symmetric and within the budget.
    free: a control without constraints, the depthwise kernel u_j + Σ_{|k|≤K} f_{k,c} u_{j+k}, where a
        neighbour beyond the run is replaced by u_j itself. It starts as the constrained layer and may leave
        the stable set. It has no causal form.
    rngs is not used: the initial values are fixed.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 3,
        alpha: float = 0.10,
        free: bool = False,
        input_adaptive: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        if width not in (3, 5, 7):
            raise ValueError(
                f"AdaptiveStencil has width 3, 5 or 7, got {width}; for a longer reach use MultiScaleStencil."
            )
        if free and input_adaptive:
            raise ValueError("AdaptiveStencil is either free or input_adaptive, got both; drop one of them.")
        check_alpha(alpha, "AdaptiveStencil", closed=False)
        self.reach, self.free, self.input_adaptive = width // 2, free, input_adaptive
        if free:
            side = jnp.full((self.reach, channels), alpha / self.reach, float)
            centre = jnp.full((1, channels), -2 * alpha, float)
            self.kernel = nnx.Param(jnp.concatenate([side, centre, side]))
            return
        self.rate = nnx.Param(jnp.full((channels,), logit(alpha / BUDGET), float))
        self.share = nnx.Param(jnp.zeros((self.reach, channels)))
        self.gate = nnx.Param(jnp.zeros((channels,))) if input_adaptive else None

    @property
    def causal_form(self) -> bool:
        """Whether the layer can be called with `causal=True`."""
        return not self.free

    def __call__(self, u: Hidden, segment_ids: Segments | None = None, *, causal: bool = False) -> Hidden:
        if self.free:
            if causal:
                raise ValueError(
                    "AdaptiveStencil(free=True) has no causal form: it reads later tokens; use free=False."
                )
            return apply(self._free_change, u, segment_ids)

        def change(u: Array, runs: Array | None) -> Array:
            return diffuse(u, runs, self._offsets(), self._weights(u), causal=causal)

        return apply(change, u, segment_ids)

    def _offsets(self) -> tuple[int, ...]:
        return tuple(range(1, self.reach + 1))

    def _weights(self, u: Array) -> Array:
        """κ, `(K, 1, 1, D)`, or `(K, B, T, D)` when every token has its own."""
        logit = self.rate[...][None, None]
        if self.gate is not None:
            logit = logit + (standardise(u) @ self.gate[...])[..., None]
        share = jax.nn.softmax(self.share[...], axis=-2)[:, None, None]
        return BUDGET * jax.nn.sigmoid(logit)[None] * share

    def _free_change(self, u: Array, runs: Array | None) -> Array:
        kernel, reach = self.kernel[...], self.reach
        change = jnp.sum(kernel, axis=0)[None, None] * u
        for k in range(1, min(reach, u.shape[-2] - 1) + 1):
            edges = stencil.difference(u, k, runs)
            ahead, behind = kernel[None, None, reach + k], kernel[None, None, reach - k]
            # the left end of an edge receives ahead·edges, the right end -behind·edges
            change += stencil.divergence(ahead * edges, k) + stencil.receive((behind - ahead) * edges, k)
        return change

    def taps(self) -> Float[Array, "*l d k"]:
        """The weights of tokens j-K … j+K far from walls, (D, 2K+1); if input-adaptive, at v·LN(u) = 0."""
        if self.free:
            kernel = self.kernel[...]
            return jnp.moveaxis(kernel.at[..., self.reach, :].add(1), -2, -1)
        rate = BUDGET * jax.nn.sigmoid(self.rate[...])
        kappa = rate[..., None, :] * jax.nn.softmax(self.share[...], axis=-2)
        return symmetric_taps(kappa, self._offsets())
