"""The claims of the Continuous-Time Attention paper, measured.

    python -m experiments.claims                             # `quick`: six sections, six seeds
    python -m experiments.claims --only decay artefact       # two of them
    python -m experiments.claims --out runs/mine --resume    # go on after a kill; finished sections are kept

    decay         attention against distance and against pseudo-time
    entropy       entropy of attention rows under the four equations
    instability   growth of plane waves under the official causal step
    gradients     gradient norms with the PDE on attention, on hidden states, and without
    landscape     top Hessian eigenvalue and slices of the loss of the same classifiers
    artefact      the language-model perplexities, reproduced on generated text without any PDE

Each has a module with a pure `measure` and the `verdict` that its numbers support. `config` says what can be chosen,
`presets` holds the values and the command line, `network` and `training` are what the trained sections share,
`program` runs the sections and writes the run folder, `figures` and `table` show what came out.
"""

from experiments.claims.config import SECTIONS as SECTIONS
from experiments.claims.config import Artefact as Artefact
from experiments.claims.config import Config as Config
from experiments.claims.config import Decay as Decay
from experiments.claims.config import Entropy as Entropy
from experiments.claims.config import Instability as Instability
from experiments.claims.config import Landscape as Landscape
from experiments.claims.config import Training as Training
from experiments.claims.presets import PRESETS as PRESETS
from experiments.claims.presets import command_line as command_line
from experiments.claims.program import main as main
