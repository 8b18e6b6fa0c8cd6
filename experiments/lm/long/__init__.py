"""Recall on long sequences: plain, windowed and performer attention, each with and without a PDE.

Every variant is trained on short rows of a generated task, and tested on rows up to the longest length, whose positions
are rotary and have no table. Beside the accuracy stand the time of a training step at every length and the temporary
memory that the compiler gives it.

Files in import order:

long_config    options, and the attention of every variant
long_presets   the presets, and the command line
long_training  training on short rows, accuracy on long ones
step_cost      time and memory of a compiled training step
long_report    the table and the figure
long_program   all of it in one run folder
"""

from experiments.lm.long.long_config import LongConfig as LongConfig
from experiments.lm.long.long_presets import LONG_PRESETS as LONG_PRESETS
from experiments.lm.long.long_presets import is_long as is_long
from experiments.lm.long.long_presets import long_command_line as long_command_line
from experiments.lm.long.long_program import run_long as run_long
