"""The values of the presets, and the command line."""

import dataclasses

from experiments import run
from experiments.lra.benchmark_tasks import BENCHMARK
from experiments.placement.config import MAY_CHANGE_ON_RESUME, Config
from experiments.placement.layer_kinds import DIFFUSIONS
from pdeformer.model import PLACEMENTS

QUICK = Config(
    steps=(250,),
    cadence=run.LoopIntervals(log_every=10, eval_every=125, checkpoint_every=125),
)
"""python -m experiments.placement

ListOps of 10 to 64 tokens: the baseline, three diffusion layers and the convolution at seven places, one seed. It takes
5 min 6 s on two CPU cores. Test accuracy: baseline 43.5 %; adaptive after the embedding -1.2 [-2.3, -0.2], after
attention -0.6 [-1.3, +0.1].
"""

STUDY = Config(
    preset="study",
    tasks=("listops", "text", "pathfinder"),
    narrow=("text", "pathfinder"),
    layers=("adaptive", "multiscale"),
    places=PLACEMENTS,
    controls=("convolution", "canon"),
    seeds=(0, 1, 2),
    steps=(400, 150, 25),
    batch=(32, 8, 8),
    cadence=run.LoopIntervals(log_every=10, eval_every=200, checkpoint_every=100),
)
"""python -m experiments.placement study

ListOps of 10 to 64 tokens, the stand-in of Text (mails of up to 512 bytes), and Pathfinder of 32 x 32 pixels with
contours of 6. Pathfinder is not learned in so few steps: 25 of 8 images. 66 minutes on two CPU cores beside other work.
No diffusion layer differs from the convolution at its place beyond chance; docs/results/placement.md has the table.
"""

FULL = dataclasses.replace(
    STUDY,
    preset="full",
    tasks=BENCHMARK,
    narrow=(),
    scale="two-layer",
    layers=DIFFUSIONS,
    alphas=(0.05, 0.1, 0.25, 0.4, 0.5, 0.55, 0.6),
    controls=("convolution", "shift", "canon", "positions_only"),
    steps=(0,),
    batch=(0,),
    cadence=run.LoopIntervals(log_every=100, eval_every=500, checkpoint_every=500),
)
"""python -m experiments.placement full

All six tasks with the published small Transformer; needs an accelerator. It has not been run.
"""

PRESETS = {
    "quick": (
        "ListOps of 10 to 64 tokens, three layers and a control at seven places, one seed; minutes on two CPU cores. "
        "The default.",
        QUICK,
    ),
    "study": (
        "ListOps, a stand-in of Text and Pathfinder with short contours, three seeds; two CPU cores.",
        STUDY,
    ),
    "full": ("All six tasks with the small Transformer of Nystromformer; needs an accelerator.", FULL),
}
LISTS = ("tasks", "narrow", "layers", "places", "alphas", "starts", "controls", "seeds")
"""Fields that may have more than the saved ones."""


def extend(saved: Config, config: Config) -> run.Extension[Config]:
    """Return the configuration with the tasks, variants and seeds of the saved run too.

    Where the run has steps or a batch for each task, a new task brings its own.
    """
    extension = run.extend_fields(*LISTS)(saved, config)
    pairs = {name: (getattr(saved, name), getattr(config, name)) for name in ("steps", "batch")}
    longer = [
        name for name, (old, new) in pairs.items() if len(old) == len(saved.tasks) and new[: len(old)] == old
    ]
    return run.Extension(extension.config, (*LISTS, *longer))


CONTINUATION = run.Continuation("placement", PRESETS, MAY_CHANGE_ON_RESUME, additive=LISTS, extend=extend)
"""More tasks, variants and seeds are trained beside the finished ones."""
command_line = run.CommandLine(
    "experiments.placement",
    "Where to add diffusion: a layer at one of seven places of a Transformer, against its baseline and its controls.",
    PRESETS,
    continuation=CONTINUATION,
)
