"""The program `python -m experiments.data`: list, prepare, verify and show the data sets of the registry.

    python -m experiments.data                                   # `list`: sources, sizes, what is prepared
    python -m experiments.data prepare mqar-quick listops-quick
    python -m experiments.data prepare listops --source lra_release --manual-dir listops-1000
    python -m experiments.data verify                            # SHA-256, counts, statistics of what is prepared
    python -m experiments.data show mqar-quick --count 4         # samples as a picture

Files in import order:

config            options, their `--help` and their checks
presets           the commands as presets, and the command line
known_statistics  statistics that a data set must have, and their sampling errors
figures           samples as pictures
report            tables
program           the four commands
"""

from experiments.data.inventory.config import Config as Config
from experiments.data.inventory.presets import command_line as command_line
from experiments.data.inventory.program import main as main
