"""The values of the presets, and the command line."""

import dataclasses
from pathlib import Path

from experiments import run
from experiments.pid_llava.config import MAY_CHANGE_ON_RESUME, RENAMED, CaptureOptions, Config, Estimation
from pid import toyworld

SHIPPED = Path(__file__).parent / "toy" / "models"
TOY = Config(
    model=(SHIPPED / "seed0", SHIPPED / "seed1"),
    capture=CaptureOptions(rows=1200, samples=900, batch=64, style=toyworld.STYLE, suffix="none"),
    estimation=Estimation(couplings=0, steps=100, folds=3),
)
"""python -m experiments.pid_llava

It needs two CPU cores and no download. It runs six tasks of the toy world, four corners of three of these tasks, and
two trained toy models that differ in their seed. The data are synthetic. Most of the time goes into the flows of the
published estimate, which `--config recommended` leaves out. Here the flows train for fewer steps and have no couplings,
which rarely help below some thousand rows.
"""

GQA = Config(preset="gqa", capture=CaptureOptions(batch=8, dtype="bfloat16", width=9))
"""python -m experiments.pid_llava gqa --model DIR --data DIR

LLaVA-1.5 or LLaVA-1.6 on the six GQA tasks of Zhang et al., with windows of 9 layers. A 7B model needs an accelerator
with 16 GB. It has not been run with real weights here.
"""

PRESETS = {
    "toy": (
        "The shipped toy models in the toy world; takes minutes on two CPU cores, without download. The default.",
        TOY,
    ),
    "gqa": ("LLaVA-1.5 or LLaVA-1.6 on the six tasks of GQA; needs --model and --data.", GQA),
}
ABOUT = """Partial information decomposition of every layer of a LLaVA, with and without Image→Question knockouts. \
`--train` trains the toy models, and `--train --help` lists its options."""


def extend(saved: Config, config: Config) -> run.Extension[Config]:
    """Return the configuration with the models, tasks and estimates of the saved run too."""
    more = run.extend_fields("model", "tasks")(saved, config)
    kind = saved.config if saved.config == config.config else "both"
    return run.Extension(dataclasses.replace(more.config, config=kind), (*more.fields, "config"))


CONTINUATION = run.Continuation("pid_llava", PRESETS, MAY_CHANGE_ON_RESUME, RENAMED, extend)
command_line = run.CommandLine("experiments.pid_llava", ABOUT, PRESETS, RENAMED, CONTINUATION)
