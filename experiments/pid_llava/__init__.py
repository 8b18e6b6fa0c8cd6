"""How vision becomes language inside a LLaVA: every layer decomposed, with and without Image→Question knockouts.

    python -m experiments.pid_llava                                   # the shipped toy models in the toy world
    python -m experiments.pid_llava --config paper                    # the published estimate alone
    python -m experiments.pid_llava gqa --model DIR DIR --data DIR    # Hugging Face folders of LLaVA, and GQA
    python -m experiments.pid_llava gqa --model DIR --data DIR --hosts.join --out DIR     # on every host of a pod
    python -m experiments.pid_llava --npz FILE                        # arrays target, x, y of your own
    python -m experiments.pid_llava --out runs/mine --resume
    python -m experiments.pid_llava --train --seeds 0 1               # makes the toy models anew

The toy world is generated: what is shown there is that the method finds what was put there.

`config` says what can be chosen, `presets` holds the values and the command line, `program` goes through the stages
and writes the run folder. `questions` are asked of models that `opened` opens; `capturing` stores their states,
`decomposing` decomposes them, `directions` compares with what is known of the toy world; `kept` holds all that by
fingerprint, so that no run does again what another has done. `statements` asks which of the paper's statements hold,
`table` and `figures` show it. `training` makes the toy models, which `toymodel` describes, by what `lessons` teaches;
`accuracy` says how well they answer.
"""

from experiments import blas as blas
from experiments.pid_llava.config import Asking as Asking
from experiments.pid_llava.config import Config as Config
from experiments.pid_llava.config import Corners as Corners
from experiments.pid_llava.config import Estimation as Estimation
from experiments.pid_llava.presets import PRESETS as PRESETS
from experiments.pid_llava.presets import command_line as command_line
from experiments.pid_llava.program import main as main
