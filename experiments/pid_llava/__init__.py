"""Partial information decomposition of every layer of a LLaVA, with and without Image→Question knockouts.

    python -m experiments.pid_llava                                   # the shipped toy models in the toy world
    python -m experiments.pid_llava --config paper                    # only the published estimate
    python -m experiments.pid_llava gqa --model DIR DIR --data DIR    # Hugging Face folders of LLaVA, and GQA
    python -m experiments.pid_llava gqa --model DIR --data DIR --hosts.join --out DIR     # on every host of a pod
    python -m experiments.pid_llava --npz FILE                        # your own arrays target, x, y
    python -m experiments.pid_llava --out runs/mine --resume
    python -m experiments.pid_llava --train --seeds 0 1               # trains the toy models again

The toy world is generated, so it shows whether the method recovers known effects.

Files in import order:

config         options of the command line
presets        the values of the presets, and the command line
result_cache   a cache of captures and estimates by fingerprint
checkpoint     a model folder, read lazily
stages         questions, captured states, decompositions
paper_claims   verdicts on the statements of the paper
known_effects  effects whose sign is known in the toy world
report         tables
figures        figures
toy            the toy models and their training
program        the stages as a study
"""

from experiments import run
from experiments.pid_llava.config import CaptureOptions as CaptureOptions
from experiments.pid_llava.config import Config as Config
from experiments.pid_llava.config import Corners as Corners
from experiments.pid_llava.config import Estimation as Estimation
from experiments.pid_llava.presets import PRESETS as PRESETS
from experiments.pid_llava.presets import command_line as command_line
from experiments.pid_llava.program import main as main

__getattr__ = run.deprecated_names(__name__, {"Asking": "CaptureOptions"})
