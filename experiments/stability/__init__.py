"""Why does a Transformer need residual connections and LayerNorm? Measured on the simulator of `pdeformer.simulator`.

    python -m experiments.stability                               # `quick`: all sections, three seeds
    python -m experiments.stability --only initialization horizon # only two sections
    python -m experiments.stability --out runs/mine --resume      # continue after a kill
    python -m experiments.stability --checkpoint runs/lra/quick-001   # the layers of a trained model

    initialization  residual × norm × gain × diffusivity × order in time, at random weights
    horizon         the same time in more and finer steps, by better integrators: numerical or intrinsic?
    training        residual × norm × gain × depth on a recall task and ListOps
    fit             the simulator fitted to the layer states of a trained Transformer
    analyses        information flow, attention, bottleneck, gradient flow, perturbations

Files in import order:

config            options of the command line
stability_arrays  the largest arrays of every section
presets           the values of the presets, and the command line
networks          the classifiers that are trained, and their tasks
trajectories      the states of layers, and what predicts them
measurements      one file per section: `measure` returns numbers, and `verdict` judges the claims by them
figures           figures of the sections that train nothing
figures_trainings figures of the section training
figures_fit       figures of section fit
analyses          the section analyses: five analyses of small trained classifiers, with their figures
trained_layers    the layers of a trained model, for --checkpoint
program           the sections as a study
"""

from experiments.stability.config import SECTIONS as SECTIONS
from experiments.stability.config import Analyses as Analyses
from experiments.stability.config import Config as Config
from experiments.stability.config import Fit as Fit
from experiments.stability.config import Horizon as Horizon
from experiments.stability.config import Initialization as Initialization
from experiments.stability.config import Network as Network
from experiments.stability.config import Training as Training
from experiments.stability.presets import PRESETS as PRESETS
from experiments.stability.presets import command_line as command_line
from experiments.stability.program import main as main
