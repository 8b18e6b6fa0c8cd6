"""Gaussian partial information decomposition of samples: truth against estimate, and your own activations.

    python -m experiments.pid_gaussian                        # planted layers: truth, estimate, knockout, figures
    python -m experiments.pid_gaussian --study bias           # remaining bias by correction and dimension
    python -m experiments.pid_gaussian --study coverage       # how often the intervals contain the truth
    python -m experiments.pid_gaussian --study flow           # warped data: raw, copula, flow
    python -m experiments.pid_gaussian --study trust          # verdicts where an estimate is right or misleads
    python -m experiments.pid_gaussian --study speed          # decompositions and bootstrap draws per second
    python -m experiments.pid_gaussian --npz FILE             # your own arrays target, x, y: tables and figures
    python -m experiments.pid_gaussian full --study coverage  # more repeats
    python -m experiments.pid_gaussian --out runs/mine --resume

Files in import order:

config           options of the command line
study_arrays     the largest arrays of every study
presets          the values of the presets, and the command line
quantities       symbols and values of the quantities of a PID
systems          generated data with known decompositions
planted_claims   the claims of the paper, judged on the planted layers
figures          figures of planted layers and of your own activations
figures_studies  figures of the studies, from their rows
studies          one file per study
program          runs one of the studies
"""

from experiments.pid_gaussian.config import Bias as Bias
from experiments.pid_gaussian.config import Config as Config
from experiments.pid_gaussian.config import Coverage as Coverage
from experiments.pid_gaussian.config import Flow as Flow
from experiments.pid_gaussian.config import Planted as Planted
from experiments.pid_gaussian.config import Speed as Speed
from experiments.pid_gaussian.config import Trust as Trust
from experiments.pid_gaussian.presets import PRESETS as PRESETS
from experiments.pid_gaussian.presets import command_line as command_line
from experiments.pid_gaussian.program import main as main
