"""Gaussian partial information decomposition of samples: truth against estimate, and your own activations.

    python -m experiments.pid_gaussian                        # planted layers: truth, estimate, knockout, figures
    python -m experiments.pid_gaussian --study bias           # what is left of the bias, by correction and dimension
    python -m experiments.pid_gaussian --study coverage       # how often the intervals contain the truth
    python -m experiments.pid_gaussian --study flow           # warped data: raw, copula, flow
    python -m experiments.pid_gaussian --study speed          # decompositions and bootstrap draws per second
    python -m experiments.pid_gaussian --npz FILE             # arrays target, x, y of your own: tables and figures
    python -m experiments.pid_gaussian full --study coverage  # more repeats
    python -m experiments.pid_gaussian --out runs/mine --resume

`config` says what can be chosen, `presets` holds the values and the command line, `program` runs a study part by part
and writes the run folder. Generated systems: `planted`, `structured`, `warped`. Studies: `transduction` (the planted
layers, whose `statements` are those of the paper), `bias`, `coverage`, `flow`, `speed`, and `activations` of your own.
`part`, `figures` and `figures_studies` serve them.
"""

from experiments import blas as blas
from experiments.pid_gaussian.config import Bias as Bias
from experiments.pid_gaussian.config import Config as Config
from experiments.pid_gaussian.config import Coverage as Coverage
from experiments.pid_gaussian.config import Flow as Flow
from experiments.pid_gaussian.config import Planted as Planted
from experiments.pid_gaussian.config import Speed as Speed
from experiments.pid_gaussian.presets import PRESETS as PRESETS
from experiments.pid_gaussian.presets import command_line as command_line
from experiments.pid_gaussian.program import main as main
