"""Kinds of layers that stand at the places: diffusion, and controls of equal place and nearly equal size.

A kind has a smoothing α, which the variants may differ in. It is data of the compiled step:

    heat         α itself, for every α ≥ 0: explicit Euler steps of `evolve`, also beyond the stability bound 1/2
    adaptive     the initial sum of the weights, below 1/2; training changes it within the bound
    multiscale   the same, spread evenly over the edge lengths 1, 2, 4, 8
    convolution  the initial kernel (α, 1-2α, α), for every α > 0; training may leave the stable set
    shift        the initial fraction of the token before, up to 1/2
    canon        none: its weights start at 0

D channels, L blocks
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from pdeformer.layers import StencilConfig
from pdeformer.model import INNER_PLACEMENTS, PLACEMENTS, POSITIONS_ONLY

BOUND = 0.5
"""Largest stable sum of the weights of a stencil."""
CANON_PLACES = ("before_attention", "in_attention", "before_ffn", "in_ffn")
"""Places of the published Canon layers A, B, C and D."""
ALL_PLACES = (*PLACEMENTS, *INNER_PLACEMENTS, POSITIONS_ONLY)
"""Every place that a model has."""


class Kind(NamedTuple):
    """What a layer is."""

    stencil: StencilConfig
    """The layer with its default smoothing."""
    default: float | None
    """Its smoothing if no option says otherwise; None: it has none."""
    limit: float
    """Its smoothing stays below this number."""


KINDS = {
    "heat": Kind(StencilConfig("heat"), 0.25, 8.0),
    "adaptive": Kind(StencilConfig("adaptive"), 0.10, BOUND),
    "multiscale": Kind(StencilConfig("multiscale"), 0.10, BOUND),
    "convolution": Kind(StencilConfig("adaptive", free=True), 0.10, 8.0),
    "shift": Kind(StencilConfig("shift"), 0.10, BOUND),
    "canon": Kind(StencilConfig("canon"), None, 0.0),
}
"""Name -> kind."""
DIFFUSIONS = ("heat", "adaptive", "multiscale")
"""Kinds that are diffusion layers; the others are controls."""


def layer_parameters(kind: str, alpha: float | None, channels: int) -> dict[str, Any]:
    """Return the initial parameters of a layer of a kind with the smoothing `alpha`; heat has none.

    Beyond the bound the kernel of a convolution is scaled: it is linear in α.
    """
    stencil = KINDS[kind].stencil
    if kind == "heat" or alpha is None:
        return _parameters(stencil, None, channels)
    if kind == "convolution":
        unit = _parameters(stencil, 0.25, channels)
        return {"kernel": unit["kernel"] * (alpha / 0.25)}
    return _parameters(stencil, alpha, channels)


def _parameters(stencil: StencilConfig, alpha: float | None, channels: int) -> dict[str, Any]:
    layer = StencilConfig(**{**vars(stencil), "alpha": alpha}).build(channels)
    return dict(nnx.to_pure_dict(nnx.state(layer, nnx.Param)))


def weight_sum(taps: Any) -> Any:
    """Return the weight of the tokens of one side: half of 1 minus the weight of the token itself.

    For a diffusion layer it is Σ_k κ_k ≤ 1/2, the diffusivity in tokens² per step if all edges have length 1.

    Args:
        taps: weights (..., 2K+1) of tokens j-K … j+K.
    """
    taps = jnp.asarray(taps)
    return (1 - taps[..., taps.shape[-1] // 2]) / 2
