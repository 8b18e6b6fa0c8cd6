"""Long Range Arena: a Transformer and its variants with a PDE, trained on the same batches.

    python -m experiments.lra                                    # `quick`: ListOps of 10 to 64 tokens, two variants
    python -m experiments.lra quick --steps 50 --seeds 0 1 2
    python -m experiments.lra listops-two-layer --placement after_embedding between_layers
    python -m experiments.lra --placement none --attention.kind diffusion     # evolved attention instead
    python -m experiments.lra quick --controls convolution canon --windows 4 16    # controls beside it
    python -m experiments.lra --task image --configuration two-layer          # the same as image-two-layer
    python -m experiments.lra suite-quick                        # miniatures of all six tasks
    python -m experiments.lra --out runs/mine --resume           # continue after a kill
    python -m experiments.lra --out runs/mine --resume --seeds 0 1    # one more seed beside the finished ones

Files in import order:

benchmark_tasks  the tasks, their heads and the options of their data
controls      variants without a PDE that a diffusion layer has to beat
config        options, their `--help` and their checks
extension     more seeds and variants for a run that exists
published     accuracies that papers report
presets       a preset for every task and configuration, and the command line
learned       right test examples, coefficients and stencils of the trained models, and their figures
comparison    variants against the baseline and against controls: tables, verdicts, learning curves
requirements  devices, memory and files that a training needs
program       data, training, run folder, summary
suite         every task with one configuration, as one table
"""

from experiments.data.listops.listops_options import Generated as Generated
from experiments.lra.config import Config as Config
from experiments.lra.config import Mesh as Mesh
from experiments.lra.config import Network as Network
from experiments.lra.presets import PRESETS as PRESETS
from experiments.lra.presets import command_line as command_line
from experiments.lra.program import main as main
from experiments.run import Hosts as Hosts
