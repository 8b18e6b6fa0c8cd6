"""The presets, as values, and the command line that begins with one of them."""

from collections.abc import Sequence
from pathlib import Path

from experiments import run
from experiments.pid_llava.config import Asking, Config, Estimation
from pid import toyworld

SHIPPED = Path(__file__).parent / "toy" / "models"
TOY = Config(
    model=(SHIPPED / "seed0", SHIPPED / "seed1"),
    asking=Asking(rows=1200, samples=900, batch=64, style=toyworld.STYLE, suffix="none"),
    estimation=Estimation(couplings=0, steps=100, folds=3),
)
"""python -m experiments.pid_llava

Two CPU cores, no download: six tasks of the toy world and four corners of three of them, two trained toy models that
differ in their seed. Synthetic. Most of the time goes into the flows of the published estimate, which `--config
recommended` leaves out; they have no couplings here, which rarely help below some thousand rows, and shorter
trainings.
"""

GQA = Config(preset="gqa", asking=Asking(batch=8, dtype="bfloat16", width=9))
"""python -m experiments.pid_llava gqa --model DIR --data DIR

LLaVA-1.5 or LLaVA-1.6 on the six GQA tasks of Zhang et al., windows of 9 layers; an accelerator with 16 GB for a 7B.
Not run with real weights here.
"""

PRESETS: dict[str, tuple[str, Config]] = {
    "toy": (
        "The shipped toy models in the toy world; minutes on two CPU cores, no download. The default.",
        TOY,
    ),
    "gqa": ("LLaVA-1.5 or LLaVA-1.6 on the six tasks of GQA; needs --model and --data.", GQA),
}
"""Name -> (one line for `--help`, values)."""


def command_line(arguments: Sequence[str]) -> Config:
    """The configuration of a command line: a preset (none is `toy`), then fields that differ from it.

    Exits with code 2 and a message, and a suggestion for a misspelt name, if it cannot be read.
    """
    return run.from_presets(
        PRESETS,
        arguments,
        program="experiments.pid_llava",
        about="How vision becomes language inside a LLaVA: every layer decomposed, with and without Image→Question "
        "knockouts; `--train --help` lists the options of training the toy models.",
    )
