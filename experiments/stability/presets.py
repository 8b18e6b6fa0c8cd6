"""The values of the presets, and the command line."""

import dataclasses

from experiments import run
from experiments.stability.config import (
    MAY_CHANGE_ON_RESUME,
    Analyses,
    Config,
    Fit,
    Horizon,
    Initialization,
    Network,
    Training,
)

QUICK = Config()
"""python -m experiments.stability

All sections with three seeds.
"""

FULL = dataclasses.replace(
    QUICK,
    preset="full",
    seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    network=Network(width=256, heads=8, ffn=1024, tokens=128, rows=4),
    initialization=Initialization(depths=(6, 12, 24, 48, 96), diffusivities=(0.0, 0.1, 0.25, 0.5)),
    horizon=Horizon(layers=24, gains=(1.0, 2**0.5, 2.0), substeps=(1, 2, 4, 8, 16)),
    training=Training(
        depths=(6, 12, 24, 48),
        gains=(1.0, 2**0.5, 2.0),
        width=64,
        ffn=256,
        tokens=48,
        steps=1000,
    ),
    fit=Fit(
        layers=12,
        width=128,
        ffn=256,
        tokens=64,
        vocabulary=64,
        train_steps=2000,
        train_learning_rate=1e-3,
        rows=1024,
        test_rows=256,
        batch=32,
        steps=5000,
        learning_rate=2e-3,
    ),
    analyses=Analyses(layers=6, width=32, heads=4, ffn=64, tokens=16, steps=3000, rows=2048, snapshots=16),
)
"""python -m experiments.stability full

Ten seeds and wider, deeper networks; needs an accelerator. It has not been run.
"""

PRESETS = {
    "quick": (
        "All sections with three seeds; minutes on two CPU cores, without download. The default.",
        QUICK,
    ),
    "full": ("Ten seeds, wider and deeper networks, longer training; needs an accelerator.", FULL),
}


CONTINUATION = run.Continuation(
    "stability", PRESETS, MAY_CHANGE_ON_RESUME, {}, run.extend_sections("stability")
)
command_line = run.CommandLine("experiments.stability", str(Config.__doc__), PRESETS, {}, CONTINUATION)
