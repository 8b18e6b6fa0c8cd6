"""Causal language models with evolved attention, diffusion layers and controls, trained on the same blocks of text.

    python -m experiments.lm                                     # `quick`: the manual of Python by bytes
    python -m experiments.lm quick --seeds 0 1 2 --stride 32     # more seeds, and windows with a long context
    python -m experiments.lm quick --pde-steps 1 2 4 8           # an ablation
    python -m experiments.lm padding                             # the artifact of padding, beside the honest numbers
    python -m experiments.lm wikitext103-bytes --manual-dir FOLDER
    python -m experiments.lm long-quick                          # recall on long sequences: accuracy, time, memory
    python -m experiments.lm --out runs/mine --resume            # continue after a kill

Files in import order:

config        options, their `--help` and their checks
cells         the trainings of a run: variants, lengths, shares of the text
next_token    the loss, and nats by block and position
scores        what the test text costs: saved arrays, bits per byte, perplexities
presets       the values of the presets, and the command line
report        the tables of results, with paired differences
figures       cost against context, ablations, and the artifact
padding       the artifact of padding as a switch
causal_requirements  devices, memory, files and causal models that a training needs
program       text, training, run folder, summary
long          recall on long sequences: accuracy, time and memory
"""

from experiments.lm.config import Config as Config
from experiments.lm.config import Evolution as Evolution
from experiments.lm.config import Network as Network
from experiments.lm.config import Padding as Padding
from experiments.lm.presets import PRESETS as PRESETS
from experiments.lm.presets import command_line as command_line
from experiments.lm.program import main as main
