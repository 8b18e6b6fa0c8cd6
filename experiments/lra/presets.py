"""The presets, one for every task and configuration, and the command line, whose first argument selects one.

    TASK-lra         the Transformer of the Long Range Arena paper [Tay et al. 2021]
    TASK-two-layer   the small Transformer, retuned for Nystromformer [Xiong et al. 2021]
    TASK-amos        the larger Transformer with rotary positions, trained from scratch [Amos, Berant & Gupta 2024]
    TASK-quick       a miniature for two CPU cores; quick is that of ListOps

`--task text --configuration two-layer` is the same as the word `text-two-layer`. Accuracies marked as published are
those of the papers; none of them was measured with this code. What a paper does not state is taken from the
configuration beside it, and said so.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments import run
from experiments.data.image import ImageConfig
from experiments.data.pathfinder import PathfinderConfig
from experiments.data.recall import RecallConfig
from experiments.data.retrieval import RetrievalConfig
from experiments.data.text import TextConfig
from experiments.lra.benchmark_tasks import BENCHMARK, TASKS
from experiments.lra.config import MAY_CHANGE_ON_RESUME, RENAMED, SHORT, Config, Network
from experiments.lra.extension import extend
from experiments.lra.published import PUBLISHED
from pdeformer.train import Optimizer

QUICK = Config(
    preset="quick",
    steps=400,
    model=Network(max_len=64, dropout=0.0, attention_dropout=0.0),
    optimizer=Optimizer(
        learning_rate=2e-3, schedule="cosine", warmup=50, weight_decay=0.01, b2=0.98, clip=1.0
    ),
    cadence=run.LoopIntervals(log_every=1, eval_every=50, checkpoint_every=100),
    generated=SHORT,
)
"""python -m experiments.lra

Generated ListOps of 10 to 64 tokens, a Transformer of 68,000 parameters, 400 steps. Two CPU cores: under two
minutes, data included. Test accuracy with seed 0: baseline 44.9 %, after_embedding 45.7 %, paired difference +0.8
[-0.4, +2.0]; with the weights that are best on validation -0.8 [-2.1, +0.6].
Predictors without a model: majority 15.0 %, root operator 33.4 %, depth-1 features 64.6 %.
"""

RSQRT: dict[str, Any] = {
    "learning_rate": 0.05,
    "schedule": "rsqrt",
    "weight_decay": 0.1,
    "b2": 0.98,
    "eps": 1e-9,
}
"""Optimizer of the paper for sequences of symbols and bytes; its peak is 0.05 / sqrt(warm-up)."""
COSINE: dict[str, Any] = {"schedule": "cosine", "b2": 0.98, "eps": 1e-9}
"""Optimizer of the paper for images, with one epoch of warm-up."""
LINEAR: dict[str, Any] = {"learning_rate": 1e-4, "schedule": "linear", "eps": 1e-6}
"""Optimizer of the two-layer configuration."""
PATHX: dict[str, Any] = {"pathfinder": PathfinderConfig(size=128)}
DATA: dict[str, dict[str, Any]] = {
    "text": {"text": TextConfig(max_len=4000)},
    "retrieval": {"retrieval": RetrievalConfig(max_len=4000)},
    "pathx": PATHX,
}
"""Data of the benchmark's tables where they differ from the default: texts are cut at 4000 bytes."""


def _two_layer(task: str, *, batch: int, steps: int, warmup: int) -> Config:
    model = Network(
        head_width=32, classifier_width=128, positions="learned", attention_bias=True, max_len=LENGTHS[task]
    )
    return _config(task, "two-layer", model, Optimizer(warmup=warmup, **LINEAR), batch=batch, steps=steps)


def _config(
    task: str, configuration: str, model: Network, optimizer: Optimizer, *, batch: int = 32, steps: int
) -> Config:
    return Config(
        preset=f"{task}-{configuration}",
        task=task,
        model=model,
        optimizer=optimizer,
        batch=batch,
        steps=steps,
        **DATA.get(task, {}),
    )


LENGTHS = {
    "listops": 2000,
    "text": 4000,
    "retrieval": 4000,
    "image": 1024,
    "pathfinder": 1024,
    "pathx": 16384,
}
"""Longest sequence of every task."""
LRA = {
    "listops": _config(
        "listops",
        "lra",
        Network(layers=4, width=512, heads=8, ffn=1024, classifier_width=1024, pooling="cls"),
        Optimizer(warmup=1000, **RSQRT),
        steps=5000,
    ),
    "text": _config(
        "text",
        "lra",
        Network(layers=4, width=256, heads=4, ffn=1024, classifier_width=1024, pooling="cls", max_len=4000),
        Optimizer(warmup=8000, **RSQRT),
        steps=20_000,
    ),
    # The benchmark warms up for 8000 of 5000 steps, so its learning rate never reaches the peak; others get 79 to 82.
    "retrieval": _config(
        "retrieval",
        "lra",
        Network(layers=4, width=128, heads=4, ffn=512, classifier_width=512, pooling="cls", max_len=4000),
        Optimizer(warmup=8000, **RSQRT),
        steps=5000,
    ),
    "image": _config(
        "image",
        "lra",
        Network(
            layers=1,
            width=128,
            heads=8,
            head_width=8,
            ffn=128,
            classifier_width=128,
            pooling="cls",
            positions="learned",
            dropout=0.3,
            attention_dropout=0.2,
            max_len=1024,
        ),
        Optimizer(learning_rate=5e-4, warmup=175, **COSINE),
        batch=256,
        steps=35_000,
    ),
    "pathfinder": _config(
        "pathfinder",
        "lra",
        Network(
            layers=4,
            width=32,
            heads=4,
            head_width=4,
            ffn=32,
            classifier_width=32,
            dropout=0.2,
            attention_dropout=0.1,
            max_len=1024,
        ),
        Optimizer(learning_rate=1e-3, warmup=312, **COSINE),
        batch=512,
        steps=62_400,
    ),
    "pathx": _config(
        "pathx",
        "lra",
        Network(
            layers=1,
            width=32,
            heads=2,
            head_width=8,
            ffn=32,
            classifier_width=32,
            positions="learned",
            max_len=16384,
        ),
        Optimizer(learning_rate=1e-3, warmup=2500, clip=1.0, **COSINE),
        batch=64,
        steps=500_000,
    ),
}
"""Task -> the Transformer of the benchmark."""
TWO_LAYER = {
    "listops": _two_layer("listops", batch=32, steps=5000, warmup=1000),
    "text": _two_layer("text", batch=32, steps=20_000, warmup=8000),
    "retrieval": _two_layer("retrieval", batch=32, steps=30_000, warmup=800),
    "image": _two_layer("image", batch=256, steps=35_000, warmup=175),
    "pathfinder": _two_layer("pathfinder", batch=256, steps=62_400, warmup=312),
    "pathx": _two_layer("pathx", batch=256, steps=62_400, warmup=312),  # not published: that of Pathfinder
}
"""Task -> the small Transformer: 2 layers, width 64, 2 heads of 32."""
AMOS = {
    "listops": _config(
        "listops",
        "amos",
        Network(layers=6, width=512, heads=8, ffn=2048, positions="rotary"),
        Optimizer(warmup=1000, **RSQRT),
        steps=5000,
    ),
    "text": _config(
        "text",
        "amos",
        Network(layers=6, width=512, heads=8, ffn=2048, positions="rotary", max_len=4000),
        Optimizer(warmup=8000, **RSQRT),
        steps=20_000,
    ),
    "retrieval": _config(
        "retrieval",
        "amos",
        Network(layers=4, width=128, heads=4, ffn=512, positions="rotary", max_len=4000),
        Optimizer(warmup=800, **RSQRT),
        steps=30_000,
    ),
    "image": _config(
        "image",
        "amos",
        Network(layers=3, width=64, heads=4, ffn=128, positions="rotary", max_len=1024),
        Optimizer(learning_rate=1e-3, warmup=900, **COSINE),
        batch=50,
        steps=180_000,
    ),
    "pathfinder": _config(
        "pathfinder",
        "amos",
        Network(layers=4, width=128, heads=8, ffn=128, positions="rotary", max_len=1024),
        Optimizer(learning_rate=5e-4, warmup=5000, **COSINE),
        batch=32,
        steps=1_000_000,
    ),
    "pathx": _config(
        "pathx",
        "amos",
        Network(
            layers=4,
            width=128,
            heads=4,
            ffn=128,
            positions="rotary",
            mixer="windowed",
            window=4096,
            max_len=16384,
        ),
        Optimizer(learning_rate=5e-4, warmup=5000, **COSINE),
        steps=1_000_000,
    ),
}
"""Task -> the larger Transformer. Sizes, batch and epochs are published; schedule and, for Text and Retrieval, steps
are those of the other configurations. For Path-X the paper attends within windows of 4096 and their neighbors; here
every token attends to 4096 tokens on either side."""
SMALL: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0}
QUICK_OPTIMIZER = dataclasses.replace(QUICK.optimizer, warmup=20)
QUICK_INTERVALS = run.LoopIntervals(log_every=1, eval_every=50, checkpoint_every=100)


def _quick(task: str, *, length: int, steps: int, batch: int = 16, **data: Any) -> Config:
    return Config(
        preset=f"{task}-quick",
        task=task,
        steps=steps,
        batch=batch,
        model=Network(max_len=length, **SMALL),
        optimizer=QUICK_OPTIMIZER,
        cadence=QUICK_INTERVALS,
        **data,
    )


MINIATURES = {
    "listops": QUICK,
    "text": _quick(
        "text", length=512, steps=100, text=TextConfig(source="offline:spam-assassin", max_len=512)
    ),
    "retrieval": _quick(
        "retrieval",
        length=256,
        steps=100,
        retrieval=RetrievalConfig(source="offline:bbc", max_len=256, train=4000, val=500, test=1000),
    ),
    "image": _quick(
        "image",
        length=1024,
        steps=100,
        image=ImageConfig(source="offline:fashion-mnist", train=8000, val=500, test=1000),
    ),
    "pathfinder": _quick(
        "pathfinder",
        length=1024,
        steps=100,
        pathfinder=PathfinderConfig(contour=6, train=8000, val=500, test=1000),
    ),
    "pathx": _quick(
        "pathx",
        length=4096,
        steps=30,
        batch=4,
        pathfinder=PathfinderConfig(size=64, contour=6, train=1000, val=100, test=200),
    ),
    "mqar": _quick(
        "mqar",
        length=64,
        steps=400,
        batch=32,
        recall=RecallConfig(items=4, max_len=64, vocabulary=64, train=20_000, val=1000, test=1000),
    ),
    "selective-copy": _quick(
        "selective-copy",
        length=64,
        steps=400,
        batch=32,
        recall=RecallConfig(
            "selective_copy", vocabulary=16, items=8, max_len=64, train=20_000, val=1000, test=1000
        ),
    ),
}
"""Task -> a miniature for two CPU cores; text, image and retrieval are stand-ins, Path-X has 64 x 64 pixels."""
CONFIGURATIONS = {"quick": MINIATURES, "lra": LRA, "two-layer": TWO_LAYER, "amos": AMOS}
"""Name of a configuration -> task -> options."""
ABOUT = {
    "lra": "the Transformer of the benchmark",
    "two-layer": "the small Transformer of Nystromformer: 2 layers, width 64",
    "amos": "the larger Transformer with rotary positions of Amos et al.",
}


def _presets() -> dict[str, tuple[str, Config]]:
    presets = {
        "quick": (
            "ListOps of 10 to 64 tokens, generated; takes minutes on two CPU cores, without download. The default.",
            QUICK,
        )
    }
    for task, config in MINIATURES.items():
        if config is not QUICK:
            presets[config.preset] = f"{TASKS[task].title} in miniature: {config.data().title}.", config
    for configuration, text in ABOUT.items():
        for task in BENCHMARK:
            accuracy = PUBLISHED[configuration].get(task)
            published = "" if accuracy is None else f" (published {accuracy:.2f} %)"
            config = CONFIGURATIONS[configuration][task]
            presets[config.preset] = f"{TASKS[task].title}, {text}{published}; accelerator.", config
    return presets


PRESETS = _presets()
CONTINUATION = run.Continuation("lra", PRESETS, MAY_CHANGE_ON_RESUME, RENAMED, extend)


class LraCommandLine(run.CommandLine[Config]):
    """A command line whose preset may also be written as --task and --configuration."""

    def read(self, arguments: Sequence[str]) -> Config:
        """Return the configuration that the arguments describe; see `run.CommandLine.read`."""
        return super().read(preset_first(arguments))


def preset_first(arguments: Sequence[str]) -> list[str]:
    """Replace --task and --configuration by the word of their preset, in front of the other arguments.

    The configuration is lra by default, and quick for a task without published configurations.

    Raises:
        ValueError: the task or the configuration is unknown, or there is no value.
    """
    rest, chosen, words = [], {}, list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in ("--task", "--configuration"):
            rest.append(f"{name}{equals}{value}")
            continue
        if not equals and not words:
            raise ValueError(f"{name} needs a value, got none; name one of them.")
        chosen[name] = (value if equals else words.pop(0)).replace("_", "-")
    if not chosen:
        return rest
    task = chosen.get("--task", "listops")
    if task not in TASKS:
        raise ValueError(f"a task is one of {', '.join(TASKS)}, got {task!r}; change --task.")
    configuration = chosen.get("--configuration", "lra" if task in BENCHMARK else "quick")
    choices = [name for name, tasks in CONFIGURATIONS.items() if task in tasks]
    if configuration not in choices:
        raise ValueError(
            f"a configuration of {task} is one of {', '.join(choices)}, got {configuration!r}; change --configuration."
        )
    return [CONFIGURATIONS[configuration][task].preset, *rest]


command_line = LraCommandLine(
    "experiments.lra",
    "Long Range Arena: a Transformer with a diffusion layer, its controls and its baseline, side by side.",
    PRESETS,
    RENAMED,
    CONTINUATION,
)
