"""The presets, as values, and the command line that begins with one of them."""

import dataclasses
from collections.abc import Sequence

from experiments import run
from experiments.claims.config import (
    Artefact,
    Config,
    Decay,
    Entropy,
    Instability,
    Landscape,
    Training,
)

QUICK = Config()
"""python -m experiments.claims

All six sections with six seeds. Two shared CPU cores: 2 min 5 s. Reached: exponential tails keep their rate to 1e-15,
peak exponents -0.268, -0.373, -0.450, -0.485, -0.496 between 4, 16, ... 4096 steps; official causal step 3.84 and
14.8 in 4 and 8 steps; no effect of the PDE on attention on gradients and Hessian beyond chance; synthetic text,
L = 64: perplexity 343 and 2.20 ("99.4 %"), and 2.21 for the baseline's own weights with PAD states kept.
"""

FULL = dataclasses.replace(
    QUICK,
    preset="full",
    seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    decay=Decay(tokens=4097, steps=(4, 16, 64, 256, 1024), attention_tokens=1024, attention_steps=64),
    entropy=Entropy(tokens=128, steps=(0, 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)),
    instability=Instability(tokens=256, alphas=26, waves=61),
    training=Training(tokens=128, width=128, ffn=256, layers=6, batch=64, steps=2000, learning_rate=1e-3),
    landscape=Landscape(rows=1024, iterations=60, directions=20, points=31),
    artefact=Artefact(
        lengths=(128, 256, 512),
        words=30.0,
        vocabulary=8000,
        lines=100_000,
        test_lines=1000,
        width=128,
        ffn=256,
        batch=32,
        steps=2000,
        learning_rate=1e-4,
    ),
)
"""python -m experiments.claims full

Ten seeds, the width of the paper's small models, longer training. For one accelerator; its three trained sections have
not been run.
"""

PRESETS: dict[str, tuple[str, Config]] = {
    "quick": ("All six sections, small; minutes on two CPU cores, no download. The default.", QUICK),
    "full": ("Ten seeds, the width of the paper's small models, longer training; accelerator.", FULL),
}
"""Name -> (one line for `--help`, values)."""


def command_line(arguments: Sequence[str]) -> Config:
    """The configuration of a command line: a preset (none is `quick`), then fields that differ from it.

    Exits with code 2 and a message, and a suggestion for a misspelt name, if it cannot be read.
    """
    return run.from_presets(
        PRESETS,
        arguments,
        program="experiments.claims",
        about="The claims of the Continuous-Time Attention paper, measured.",
    )
