"""How vision becomes language inside a LLaVA: every layer decomposed, with and without Image→Question knockouts.

    python -m experiments.pid_llava                                   # the shipped toy models in the toy world
    python -m experiments.pid_llava --config paper                    # the published estimate alone
    python -m experiments.pid_llava gqa --model DIR DIR --data DIR    # Hugging Face folders of LLaVA, and GQA
    python -m experiments.pid_llava gqa --model DIR --data DIR --hosts.join --out DIR     # on every host of a pod
    python -m experiments.pid_llava --npz FILE                        # arrays target, x, y of your own
    python -m experiments.pid_llava --out runs/mine --resume
    python -m experiments.pid_llava --train --seeds 0 1               # makes the toy models anew

The toy world is generated: it shows whether the method finds what was put there.

Files in import order:

config         options of the command line
presets        values, and the command line
result_cache   captures and estimates by fingerprint, which no run repeats
checkpoint     a model folder, of which only the necessary parts are read
stages         questions, captured states, decompositions
paper_claims   the statements of the paper, judged
known_effects  effects whose sign is known beforehand in the toy world
report         tables
figures        figures
toy            the toy models and how they are trained
program        the stages as a study
"""

from experiments import blas as blas
from experiments import run
from experiments.pid_llava.config import CaptureOptions as CaptureOptions
from experiments.pid_llava.config import Config as Config
from experiments.pid_llava.config import Corners as Corners
from experiments.pid_llava.config import Estimation as Estimation
from experiments.pid_llava.presets import PRESETS as PRESETS
from experiments.pid_llava.presets import command_line as command_line
from experiments.pid_llava.program import main as main

__getattr__ = run.deprecated_names(__name__, {"Asking": "CaptureOptions"})
