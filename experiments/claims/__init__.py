"""Measurements of the claims of the Continuous-Time Attention paper.

    python -m experiments.claims                             # `quick`: six sections, six seeds
    python -m experiments.claims --only decay artifact       # only two sections
    python -m experiments.claims --out runs/mine --resume    # continue after a kill; finished sections are skipped

    decay         attention against distance and against pseudo-time
    entropy       entropy of attention rows under the four equations
    instability   growth of plane waves under the official causal step
    gradients     gradient norms with the PDE on attention, on hidden states, and without
    landscape     top Hessian eigenvalue and slices of the loss of the same classifiers
    artifact      the language-model perplexities, reproduced on generated text without any PDE

Files in import order:

config           options of the command line
claim_arrays     the largest arrays of every section
presets          the values of the presets, and the command line
trained          the classifiers of `gradients` and `landscape`, their training and their Hessian
measurements     one file per claim: `measure` returns numbers, and `verdict` judges the claim by them
figures          figures of the sections that train nothing
figures_trained  figures of the sections that train
program          the sections as a study
"""

from experiments import run
from experiments.claims.config import FORMER_ARTIFACT as FORMER_ARTIFACT
from experiments.claims.config import SECTIONS as SECTIONS
from experiments.claims.config import Artifact as Artifact
from experiments.claims.config import Config as Config
from experiments.claims.config import Decay as Decay
from experiments.claims.config import Entropy as Entropy
from experiments.claims.config import Instability as Instability
from experiments.claims.config import Landscape as Landscape
from experiments.claims.config import Training as Training
from experiments.claims.presets import PRESETS as PRESETS
from experiments.claims.presets import command_line as command_line
from experiments.claims.program import main as main

__getattr__ = run.deprecated_names(__name__, {FORMER_ARTIFACT.capitalize(): "Artifact"})
