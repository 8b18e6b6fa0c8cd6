"""Long Range Arena: a Transformer with a PDE in it and its baseline, side by side on the same batches.

    python -m experiments.lra                                    # `quick`: ListOps of 10 to 64 tokens, both variants
    python -m experiments.lra quick --steps 50 --seeds 0 1 2
    python -m experiments.lra listops-two-layer --placement after_embedding between_layers
    python -m experiments.lra --placement none --attention.kind diffusion     # its attention evolved instead
    python -m experiments.lra quick --out runs/mine --resume     # go on after a kill

`config` says what can be chosen, `presets` holds the published configurations and the command line, `program`
trains and writes the run folder, `table` and `figures` show what came out, `taps` and `coefficients` what was learned.
"""

from experiments.lra.config import Config as Config
from experiments.lra.config import Generated as Generated
from experiments.lra.config import Mesh as Mesh
from experiments.lra.config import Network as Network
from experiments.lra.presets import PRESETS as PRESETS
from experiments.lra.presets import command_line as command_line
from experiments.lra.program import main as main
from experiments.run import Hosts as Hosts
