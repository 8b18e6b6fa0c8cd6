"""All cases, and the few that `--quick` compiles."""

from experiments.aot.cases import (
    attention_cases,
    llava_cases,
    sequence_cases,
    stencil_cases,
    training_cases,
)
from experiments.aot.cases.case import Case

GROUPS = {
    "evolve": stencil_cases.cases,
    "attention": attention_cases.cases,
    "training": training_cases.cases,
    "sequence": sequence_cases.cases,
    "llava": llava_cases.cases,
}
"""Group -> a function that returns its cases."""
QUICK = (
    "v5e-1, scaled copy",
    "v5e-1, evolve, shared",
    "v5e-1, evolve, segments",
    "v5e-1, folded attention, T=8192",
    "v5e-1, training step, two-layer, bfloat16, batch 32, one device",
)
"""Names of the cases of `--quick`: five programs for one chip."""


def all_cases() -> dict[str, Case]:
    """Return every case by its name."""
    return {case.name: case for group in GROUPS.values() for case in group()}
