"""Long Range Arena: a Transformer and its variants with a PDE, trained on the same batches.

    python -m experiments.lra                                    # `quick`: ListOps of 10 to 64 tokens, two variants
    python -m experiments.lra quick --steps 50 --seeds 0 1 2
    python -m experiments.lra listops-two-layer --placement after_embedding between_layers
    python -m experiments.lra --placement none --attention.kind diffusion     # evolved attention instead
    python -m experiments.lra --out runs/mine --resume           # continue after a kill
    python -m experiments.lra --out runs/mine --resume --seeds 0 1    # one more seed beside the finished ones

Files in import order:

config                options, their `--help` and their checks
extension             more seeds and variants for a run that exists
presets               a quick configuration, published configurations, and the command line
example_hits          which test examples are right, saved in the run folder
learned_coefficients  coefficients of the trained attention, saved in the run folder
learned_stencils      stencils of the trained diffusion layers, saved in the run folder
report                the tables of results, with paired differences
figures               learning curves
figures_learned       learned stencils and coefficients
program               data, training, run folder, summary
"""

from experiments.data.listops.listops_options import Generated as Generated
from experiments.lra.config import Config as Config
from experiments.lra.config import Mesh as Mesh
from experiments.lra.config import Network as Network
from experiments.lra.presets import PRESETS as PRESETS
from experiments.lra.presets import command_line as command_line
from experiments.lra.program import main as main
from experiments.run import Hosts as Hosts
