"""Transformers steered by partial differential equations."""

from pdeformer import cta, sharding
from pdeformer.attention import pde_attention, pde_attention_weights
from pdeformer.integrators import evolve
from pdeformer.layers import AdaptiveStencil, HeatLayer, MultiScaleStencil, PDEAttention
from pdeformer.model import PLACEMENTS, CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.pde import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave

__all__ = [
    "PLACEMENTS",
    "AdaptiveStencil",
    "AdvectionDiffusion",
    "CausalLM",
    "Classifier",
    "Diffusion",
    "HeatLayer",
    "Matcher",
    "ModelConfig",
    "MultiScaleStencil",
    "PDEAttention",
    "ReactionDiffusion",
    "Wave",
    "cta",
    "evolve",
    "pde_attention",
    "pde_attention_weights",
    "sharding",
]
