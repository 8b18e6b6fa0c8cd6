"""The official Continuous-Time Attention layers and checkpoints, in the original formulas.

layer             `refine`: the explicit steps on hidden states
encoder           the encoder layer, its attention and its affine maps
official_weights  `Weights`, and `init_weights`: initial ones from the distributions of PyTorch
models            `OfficialClassifier`, `OfficialLM`: to train with a random key, or to evaluate
state_dicts       `load_classifier`, `load_lm`: read an official PyTorch checkpoint

The published code evolves no attention matrix. It refines the hidden states (B, L, D) along L after each encoder
layer. This package reproduces the numbers of that code, for parity and for its checkpoints. New models should use the
corrected forms:

    official                                                     corrected
    "wave" is first order in time: diffusion with α², .0225 at   `Wave`: leapfrog, second order; modes
      the initial α = .15; modes decay, none changes sign          oscillate
    causal triple i-2, i-1, i: alternating tokens gain           `evolve(causal=True)`: half-line heat
      1 + 4α a step, 1.4 at α = .1 (3.84 in 4 steps, 14.8 in       kernel, never beyond the range of its
      8), and 1.46 with advection at β = .03                       input
    causal advection: the backward difference of +β u_x is       `evolve(causal=True)`: shifts from the
      downwind, a gain of 1 + 2β even without diffusion            past
    copied ends: mass is lost; ‖M‖₂ = 1.018, 1.070, 1.130        boundary "neumann": mass is
      after 1, 4, 8 steps at α = .1                                conserved, ‖M‖₂ = 1
    reaction β u (1 - σ(u)): 0 is the only fixed point;          `ReactionDiffusion`: exact flows;
      u = -1 reaches -2210 after 400 steps at β = .02              "allen_cahn" keeps [-1, 1]
    α, β unconstrained: α = .6 amplifies                         `evolve` refuses; layers stay in the
                                                                   stable set for all parameters
    mask: packed sequences mix with each other                   `segment_ids`: walls between them

[Zhang & Zhou, "Continuous-Time Attention", 2025; its code: github.com/XueqingZhou/Continuous-Time-Attention,
 March 2026]

    B batch, L tokens, D channels, N heads, H head width, F feed-forward width, S steps, V vocabulary, C classes
"""

from pdeformer.cta.encoder import LAYER_SHAPES as LAYER_SHAPES
from pdeformer.cta.encoder import affine as affine
from pdeformer.cta.encoder import attention as attention
from pdeformer.cta.encoder import encoder_layer as encoder_layer
from pdeformer.cta.layer import KINDS as KINDS
from pdeformer.cta.layer import WITH_BETA as WITH_BETA
from pdeformer.cta.layer import refine as refine
from pdeformer.cta.models import OfficialClassifier as OfficialClassifier
from pdeformer.cta.models import OfficialLM as OfficialLM
from pdeformer.cta.official_weights import INITIAL_COEFFICIENTS as INITIAL_COEFFICIENTS
from pdeformer.cta.official_weights import Weights as Weights
from pdeformer.cta.official_weights import init_weights as init_weights
from pdeformer.cta.state_dicts import load_classifier as load_classifier
from pdeformer.cta.state_dicts import load_lm as load_lm

__all__ = [
    "INITIAL_COEFFICIENTS",
    "KINDS",
    "LAYER_SHAPES",
    "WITH_BETA",
    "OfficialClassifier",
    "OfficialLM",
    "Weights",
    "affine",
    "attention",
    "encoder_layer",
    "init_weights",
    "load_classifier",
    "load_lm",
    "refine",
]
