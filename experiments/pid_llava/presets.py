"""The presets as values, and the command line that begins with one of them."""

from pathlib import Path

from experiments import run
from experiments.pid_llava.config import RENAMED, CaptureOptions, Config, Estimation
from pid import toyworld

SHIPPED = Path(__file__).parent / "toy" / "models"
TOY = Config(
    model=(SHIPPED / "seed0", SHIPPED / "seed1"),
    capture=CaptureOptions(rows=1200, samples=900, batch=64, style=toyworld.STYLE, suffix="none"),
    estimation=Estimation(couplings=0, steps=100, folds=3),
)
"""python -m experiments.pid_llava

Two CPU cores, no download: six tasks of the toy world, four corners of three of them, and two trained toy models that
differ in their seed. The data are synthetic. Most of the time goes into the flows of the published estimate, which
`--config recommended` leaves out. Here the flows train less, and have no couplings, which rarely help below some
thousand rows.
"""

GQA = Config(preset="gqa", capture=CaptureOptions(batch=8, dtype="bfloat16", width=9))
"""python -m experiments.pid_llava gqa --model DIR --data DIR

LLaVA-1.5 or LLaVA-1.6 on the six GQA tasks of Zhang et al., with windows of 9 layers. A 7B model needs an accelerator
with 16 GB. It has not been run with real weights here.
"""

PRESETS = {
    "toy": (
        "The shipped toy models in the toy world; minutes on two CPU cores, no download. The default.",
        TOY,
    ),
    "gqa": ("LLaVA-1.5 or LLaVA-1.6 on the six tasks of GQA; needs --model and --data.", GQA),
}
ABOUT = """How vision becomes language inside a LLaVA: every layer decomposed, with and without Image→Question \
knockouts; `--train --help` lists the options of training the toy models."""
command_line = run.CommandLine("experiments.pid_llava", ABOUT, PRESETS, RENAMED)
