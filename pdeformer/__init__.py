"""Transformers steered by partial differential equations."""

from pdeformer import cta, sharding
from pdeformer.attention import (
    AttentionCache,
    init_cache,
    pde_attention,
    pde_attention_decode,
    pde_attention_weights,
    step_budget,
)
from pdeformer.integrators import evolve
from pdeformer.layers import AdaptiveStencil, HeatLayer, MultiScaleStencil, PDEAttention
from pdeformer.model import PLACEMENTS, CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.pde import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave

__all__ = [
    "PLACEMENTS",
    "AdaptiveStencil",
    "AdvectionDiffusion",
    "AttentionCache",
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
    "init_cache",
    "pde_attention",
    "pde_attention_decode",
    "pde_attention_weights",
    "sharding",
    "step_budget",
]
