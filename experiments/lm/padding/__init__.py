"""The artifact of the published perplexities as a switch: lines padded to a length, with PAD in the loss.

The first public code masks no later token, pads every line, and counts PAD in the loss. Its baseline is evaluated on a
path of PyTorch that returns exactly 0 at PAD, so that the head reads 0 there and pays about ln V nats for every PAD.
Its PDE model is evaluated layer by layer, where PAD costs nothing. The perplexity of the baseline then grows with the
length, that of the PDE model falls, and the "gain" measures the share of PAD. [Zhang & Zhou, "Continuous-Time
Attention", 2025]

Files in import order:

padded_lines     the lines of a text, padded
padded_training  the official models on them, and their scores with and without PAD
padded_report    the invented numbers beside the honest ones
"""

from experiments.lm.padding.padded_lines import read_lines as read_lines
from experiments.lm.padding.padded_report import conclusion as conclusion
from experiments.lm.padding.padded_report import pattern as pattern
from experiments.lm.padding.padded_report import table as table
from experiments.lm.padding.padded_training import PaddedCell as PaddedCell
from experiments.lm.padding.padded_training import padded_cells as padded_cells
from experiments.lm.padding.padded_training import train_padded as train_padded
