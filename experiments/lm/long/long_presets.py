"""The presets of the runs on long sequences, and their command line."""

import dataclasses
from collections.abc import Sequence

from experiments import run
from experiments.lm.config import Network
from experiments.lm.long.long_config import LongConfig
from experiments.lra.suite.suite_presets import PATHS, saved_preset
from pdeformer.train import Optimizer

QUICK = LongConfig(
    optimizer=Optimizer(
        learning_rate=3e-3, schedule="cosine", warmup=40, weight_decay=0.01, b2=0.98, clip=1.0
    ),
    cadence=run.LoopIntervals(log_every=10, eval_every=100, checkpoint_every=100),
)
"""python -m experiments.lm long-quick

MQAR: 4 pairs, trained on rows of 64 tokens and measured at 1,024 and 4,096. It takes 4 min 48 s on two CPU cores.
Labels that are right at 64 tokens with seeds 0 1 2: plain 53.1 %, evolved 98.6 %, window 36.5 %, window_pde 82.2 %,
performer 25.7 %, performer_pde 49.3 %. With --steps 1000 and seed 0: plain 100.0, evolved 100.0, window 98.9,
window_pde 88.3 %.
"""
LONG = dataclasses.replace(
    QUICK,
    preset="long",
    items=64,
    vocabulary=255,
    train_length=16_384,
    train_rows=100_000,
    lengths=(16_384,),
    test_rows=256,
    window=256,
    features=256,
    seeds=(0, 1, 2),
    steps=20_000,
    batch=64,
    cost_batch=1,
    repeats=5,
    model=Network(
        width=256,
        heads=4,
        ffn=1024,
        layers=4,
        positions="rotary",
        dropout=0.0,
        attention_dropout=0.0,
        remat=True,
    ),
    optimizer=Optimizer(
        learning_rate=1e-3, schedule="cosine", warmup=1000, weight_decay=0.1, b2=0.98, clip=1.0
    ),
    cadence=run.LoopIntervals(log_every=10, eval_every=1000, checkpoint_every=500),
)
"""python -m experiments.lm long

MQAR with 64 pairs, trained at 16,384 tokens. It needs an accelerator, and has not been run.
"""
COST = dataclasses.replace(QUICK, preset="long-cost", lengths=(1024, 4096, 16_384), test_rows=8, repeats=1)
"""python -m experiments.lm long-cost

The sizes of long-quick, measured up to 16,384 tokens. With --seeds 0 1 2 it takes 11 min 9 s on two CPU cores. A
training step of one row of 16,384 tokens: plain 2.56 s and 324 MiB, evolved 2.80 s and 431 MiB, window 0.38 s and
302 MiB, performer 0.68 s and 552 MiB.
"""
LONG_PRESETS = {
    "long-quick": (
        "Recall trained at 64 tokens, measured at 1,024 and 4,096; takes minutes on two CPU cores.",
        QUICK,
    ),
    "long-cost": ("The same, measured up to 16,384 tokens; two CPU cores.", COST),
    "long": ("Recall trained at 16,384 tokens, three seeds; accelerators.", LONG),
}
MAY_HAVE_MORE = ("seeds", "variants", "lengths")
"""Fields that may have more than the saved ones on resume."""


def extend(saved: LongConfig, config: LongConfig) -> run.Extension[LongConfig]:
    """Return the configuration with the seeds, variants and lengths of the saved run too, lengths in their order."""
    values = {name: run.union(getattr(saved, name), getattr(config, name)) for name in MAY_HAVE_MORE}
    values["lengths"] = tuple(sorted(values["lengths"]))
    return run.Extension(dataclasses.replace(config, **values), MAY_HAVE_MORE)


LONG_CONTINUATION = run.Continuation(
    "lm", LONG_PRESETS, (*run.MAY_CHANGE_ON_RESUME, "hosts", "data_dir"), extend=extend
)
long_command_line = run.CommandLine(
    "experiments.lm",
    "Recall on long sequences: plain, windowed and performer attention, each with and without a PDE.",
    LONG_PRESETS,
    continuation=LONG_CONTINUATION,
)


def is_long(arguments: Sequence[str]) -> bool:
    """Return whether a command line is one of this program: by its preset, also misspelled, or that of its run.

    Args:
        arguments: words of the command line.
    """
    if any(word.startswith("long") for word in arguments[:1]):
        return True
    for word, before in zip(arguments, ("", *arguments), strict=False):
        if word.replace("_", "-") in LONG_PRESETS and before.lstrip("-").replace("_", "-") not in PATHS:
            return True
    return "--resume" in arguments and saved_preset(arguments) in LONG_PRESETS
