"""The values of the presets, and the command line."""

import dataclasses

from experiments import run
from experiments.claims.config import (
    MAY_CHANGE_ON_RESUME,
    RENAMED,
    Artifact,
    Config,
    Decay,
    Entropy,
    Instability,
    Landscape,
    Training,
)

QUICK = Config()
"""python -m experiments.claims

All six sections with six seeds. Two shared CPU cores: 2 min 5 s. Results: exponential tails keep their rate to 1e-15.
The peak exponents are -0.268, -0.373, -0.450, -0.485, -0.496 between 4, 16, ... 4096 steps. The official causal step
grows by 3.84 and 14.8 in 4 and 8 steps. The PDE on attention has no effect on gradients and Hessian beyond chance. On
synthetic text with L = 64 the perplexities are 343 and 2.20 ("99.4 %"), and 2.21 for the baseline's own weights if PAD
states are not set to 0.
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
    artifact=Artifact(
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

Ten seeds, the width of the paper's small models, longer training. It needs one accelerator; its three trained sections
have not been run.
"""

PRESETS = {
    "quick": (
        "All six sections at small sizes; takes minutes on two CPU cores, without download. The default.",
        QUICK,
    ),
    "full": (
        "Ten seeds, the width of the paper's small models, longer training; needs an accelerator.",
        FULL,
    ),
}


CONTINUATION = run.Continuation(
    "claims", PRESETS, MAY_CHANGE_ON_RESUME, RENAMED, run.extend_sections("claims")
)
command_line = run.CommandLine("experiments.claims", str(Config.__doc__), PRESETS, RENAMED, CONTINUATION)
