"""Diffusion layers: `layer(u, segment_ids=None, *, causal=False)` maps hidden states to hidden states.

Each is a smoothing step along the tokens of every run (`stencil.run_ids`) with no flux through its
ends. Parameters are free real numbers that are mapped into the stable set, so that whatever an optimizer does
the step u ← Mu keeps weights ≥ 0 that sum to at most 1/2: M is symmetric with its spectrum in [0, 1], or
[-1, 1] beyond 1/4, conserves the sum over tokens, is non-expansive in every l_p norm and never raises its own
energy 1/2 <u, (I - M) u>. Where M depends on u this holds for that M. (The exception is the control
`AdaptiveStencil(free=True)`.)
A causal step lets only the later end of every edge receive; its weights are then a convex combination of the
token and earlier ones, non-expansive in the maximum norm, and it does not conserve the sum.

Hidden states are `(B, T, D)`; padding is never read and never changed; the arithmetic is in at least float32
and rounded once to the dtype of `u`. [Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026]

`PDEAttention` stands apart: it takes queries, keys and values, and evolves the attention between them.

    B batch, T tokens, D channels, K offsets of a stencil, S scales
"""

from pdeformer.layers.adaptive import AdaptiveStencil as AdaptiveStencil
from pdeformer.layers.attention import PDEAttention as PDEAttention
from pdeformer.layers.attention import PDEAttentionConfig as PDEAttentionConfig
from pdeformer.layers.config import Layer as Layer
from pdeformer.layers.config import StencilConfig as StencilConfig
from pdeformer.layers.heat import HeatLayer as HeatLayer
from pdeformer.layers.multiscale import MultiScaleStencil as MultiScaleStencil

__all__ = [
    "AdaptiveStencil",
    "PDEAttentionConfig",
    "HeatLayer",
    "Layer",
    "MultiScaleStencil",
    "PDEAttention",
    "StencilConfig",
]
