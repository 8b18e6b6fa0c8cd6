"""A tiny text in place of the manual of Python, and a configuration that trains on it in a second."""

import contextlib
import dataclasses

import pytest

from experiments import lm, run
from experiments.data.language_modeling import corpus_config

QUICK = lm.PRESETS["quick"][1]
DOCUMENTS = [
    f"topic {number}\nthe {number * 7 % 11} of {number % 3} and {'so on ' * (number % 4 + 3)}\n".encode() * 5
    for number in range(20)
]
TINY = dataclasses.replace(
    QUICK,
    steps=4,
    batch=8,
    mesh=dataclasses.replace(QUICK.mesh, data=1),
    model=lm.Network(layers=1, width=8, heads=2, ffn=8, dropout=0.1, attention_dropout=0.0),
    lengths=(16,),
    equations=("diffusion",),
    pde_steps=(2,),
    placement=("none",),
    controls=("shift",),
    cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=1, keep=1),
)


@contextlib.contextmanager
def small_manual():
    """Replace the manual of Python by the tiny documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_config, "python_manual", lambda: DOCUMENTS)
        patch.setattr(corpus_config, "manual_hash", lambda: "0" * 64)
        yield
