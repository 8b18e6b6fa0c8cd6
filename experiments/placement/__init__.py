"""Where to add diffusion: a layer at one place of a Transformer after another, against the baseline and controls.

    python -m experiments.placement                              # `quick`: ListOps, every place and layer, one seed
    python -m experiments.placement --places after_embedding after_attention --seeds 0 1 2
    python -m experiments.placement --layers heat --alphas 0.25 0.45 0.5 0.55 0.6 --controls none   # past the bound
    python -m experiments.placement study                        # three tasks, three seeds, all controls
    python -m experiments.placement --out runs/mine --resume     # continue after a kill
    python -m experiments.placement --out runs/mine --resume --seeds 0 1 2 --controls canon    # more members

Variants of one kind of layer are one model with a layer at every place and a switch for each, so that all of them train
in one program (`experiments.run.training.member_programs`).

Files in import order:

layer_kinds      kinds of layers and their smoothing
variant_families a kind of layer at one place; families of variants that train together
switched_model   a layer at every place, and a switch for each
config           options, their `--help` and their checks
presets          the presets, and the command line
member_results   results of members, and their rows
family_training  the training of a family
sites            the states at every site of a model, and measures there
member_files     what a member leaves in the run folder
report           tables with paired differences, and verdicts
figures          differences by place, learned smoothing, gain spectra, sites
program          the families of every task, summary
"""

from experiments.placement.config import Config as Config
from experiments.placement.config import Mesh as Mesh
from experiments.placement.presets import PRESETS as PRESETS
from experiments.placement.presets import command_line as command_line
from experiments.placement.program import main as main
