"""Diffusion layers, their controls, and attention that a PDE evolves, as Flax nnx modules.

signature          the signature of a module, for `help` and `inspect`
stable_stencil     symmetric edge weights whose sum respects the stability bound
constraints        unconstrained parameters ↔ stable PDE coefficients
heat               `HeatLayer`: one diffusivity for all channels
adaptive           `AdaptiveStencil`: one learned symmetric stencil per channel
multiscale         `MultiScaleStencil`: edges of several lengths under one stability bound
canon              `CanonLayer`, a control: residual causal convolution of four taps
token_shift        `TokenShift`, a control: learned mixture with the token before
linear_recurrence  `LinearRecurrence`: a diagonal complex recurrence in place of attention
multihead          the arguments with which `nnx.MultiHeadAttention` calls its attention
attention          `PDEAttention`: `pde_attention` with learned coefficients, and its configuration
config             `StencilConfig`: the choice of a diffusion layer and its options

A diffusion layer is called as `layer(u, segment_ids=None, *, causal=False)` and maps hidden states (..., T, D) to
hidden states. It smooths along the tokens of every run (`stencil.run_ids`) and lets no flux through the ends of a
run. Padding is never read and never changed. The arithmetic is in at least float32 and is rounded once, to the
dtype of `u`.

Stability holds for every value of the parameters. The layer maps its parameters, real numbers without constraints,
to weights w ≥ 0 of sum ≤ 1/2. Hence the matrix M of the step u ← Mu

- is symmetric with spectrum in [-1, 1], and in [0, 1] while the weights sum to at most 1/4;
- conserves the sum over the tokens of a run;
- is non-expansive in every l_p norm;
- never raises its own energy 1/2 <u, (I - M) u>.

Where M depends on u, this holds for that M. The controls stand in the same places and promise none of these laws:
`AdaptiveStencil(free=True)`, the unconstrained kernel, which starts as the constrained one; `CanonLayer`, which reads
the three tokens before, with 0 beyond a wall; and `TokenShift`, which reads the one before. They too read nothing
beyond the ends of a run, and neither read nor change padding.

A causal step changes only the later end of every edge. Each new token is then a convex combination of itself and
earlier tokens: the step is non-expansive in the maximum norm, and it does not conserve the sum.

`LinearRecurrence` stands in place of attention. `PDEAttention` takes queries, keys and values instead, and evolves
the attention between them. [Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026]

    B batch, T tokens, D channels, K offsets of a stencil, S scales
"""

import warnings
from typing import Any

from pdeformer.layers.adaptive import AdaptiveStencil as AdaptiveStencil
from pdeformer.layers.attention import PDEAttention as PDEAttention
from pdeformer.layers.attention import PDEAttentionConfig as PDEAttentionConfig
from pdeformer.layers.canon import CanonLayer as CanonLayer
from pdeformer.layers.config import Layer as Layer
from pdeformer.layers.config import StencilConfig as StencilConfig
from pdeformer.layers.heat import HeatLayer as HeatLayer
from pdeformer.layers.linear_recurrence import LinearRecurrence as LinearRecurrence
from pdeformer.layers.multiscale import MultiScaleStencil as MultiScaleStencil
from pdeformer.layers.token_shift import TokenShift as TokenShift

__all__ = [
    "AdaptiveStencil",
    "CanonLayer",
    "HeatLayer",
    "Layer",
    "LinearRecurrence",
    "MultiScaleStencil",
    "PDEAttention",
    "PDEAttentionConfig",
    "StencilConfig",
    "TokenShift",
]

_RENAMED = {"Stencil": "StencilConfig", "AttentionPDE": "PDEAttentionConfig"}


def __getattr__(name: str) -> Any:
    """Resolve the deprecated name of a class, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _RENAMED[name]
    warnings.warn(
        f"pdeformer.layers.{name} is now pdeformer.layers.{new}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return globals()[new]
