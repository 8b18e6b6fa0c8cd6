"""Measures of hidden states, of maps between them, and of attention.

Every measure is a pure function that works under `jit`, `vmap` and `grad`. Files, each importing only those above it:

hidden_states  of one state: Dirichlet energy, roughness, token similarity, effective rank; commutator of two maps
similarity     of two states: relative change, cosine, centered kernel alignment (CKA)
row_entropy    of attention: entropy of its rows
causality      of maps of tokens: derivatives by later and by earlier tokens
sensitivity    of maps: norm of the Jacobian, top Lyapunov exponent
insertion      of a smoothing layer in a model: double mixing, perturbation bound, gain spectrum
"""

from pdeformer.diagnostics.causality import TokenSensitivity as TokenSensitivity
from pdeformer.diagnostics.causality import token_sensitivity as token_sensitivity
from pdeformer.diagnostics.hidden_states import commutator as commutator
from pdeformer.diagnostics.hidden_states import dirichlet_energy as dirichlet_energy
from pdeformer.diagnostics.hidden_states import effective_rank as effective_rank
from pdeformer.diagnostics.hidden_states import roughness as roughness
from pdeformer.diagnostics.hidden_states import token_similarity as token_similarity
from pdeformer.diagnostics.insertion import PerturbationBound as PerturbationBound
from pdeformer.diagnostics.insertion import double_mixing as double_mixing
from pdeformer.diagnostics.insertion import gain_spectrum as gain_spectrum
from pdeformer.diagnostics.insertion import perturbation_bound as perturbation_bound
from pdeformer.diagnostics.row_entropy import attention_entropy as attention_entropy
from pdeformer.diagnostics.sensitivity import JacobianNorm as JacobianNorm
from pdeformer.diagnostics.sensitivity import jacobian_norm as jacobian_norm
from pdeformer.diagnostics.sensitivity import lyapunov_exponent as lyapunov_exponent
from pdeformer.diagnostics.similarity import cka as cka
from pdeformer.diagnostics.similarity import cosine as cosine
from pdeformer.diagnostics.similarity import relative_change as relative_change

__all__ = [
    "JacobianNorm",
    "PerturbationBound",
    "TokenSensitivity",
    "attention_entropy",
    "cka",
    "commutator",
    "cosine",
    "dirichlet_energy",
    "double_mixing",
    "effective_rank",
    "gain_spectrum",
    "jacobian_norm",
    "lyapunov_exponent",
    "perturbation_bound",
    "relative_change",
    "roughness",
    "token_sensitivity",
    "token_similarity",
]
