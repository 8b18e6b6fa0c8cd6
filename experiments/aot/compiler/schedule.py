"""Cycles of the kernels of a TPU: bundles of the compiler's final schedule, times the steps of the grid.

A bundle takes at least one cycle. Waiting for memory is not in it, and a loop inside a kernel counts once, so the
product is a lower bound. A grid step that a kernel skips counts in full.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from jax.extend.core import jaxprs_in_params

from experiments.roofline.matrix_flops import executions

_LABEL = "schedule-analysis_final_bundles"
FLAGS = (
    f"--xla_jf_dump_to={{folder}} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=.*{_LABEL}.*"
)
"""Options of libtpu that write the schedules into a folder."""


def kernel_cycles(jaxpr: Any, folder: str, *, unknown_trips: float = 1.0) -> float:
    """Return the cycles of the kernels of a traced program. Kernels of one name count with their mean schedule.

    Args:
        jaxpr: the traced program.
        folder: where the compiler has written its schedules.
        unknown_trips: how often a loop runs whose trips depend on the data.
    """
    steps: dict[str, float] = defaultdict(float)
    for name, count in grid_steps(jaxpr, unknown_trips):
        steps[name] += count
    schedules = defaultdict(list)
    for path in sorted(Path(folder).glob(f"*-{_LABEL}.txt")):
        kernel = re.sub(rf"^\d+-|(\.\d+)*-\d+-{_LABEL}\.txt$", "", path.name)
        total = re.search(r"total scheduled bundles: +(\d+)", path.read_text())
        if kernel in steps and total:
            schedules[kernel].append(int(total.group(1)))
    return sum(mean(bundles) * steps[name] for name, bundles in schedules.items())


def grid_steps(jaxpr: Any, unknown_trips: float) -> Iterator[tuple[str, float]]:
    """Yield the name of every kernel of a traced program, and the steps of its grid times its executions."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        primitive = equation.primitive.name
        if primitive == "pallas_call":
            yield equation.params["name"], math.prod(equation.params["grid_mapping"].grid)
            continue
        times = 1 if primitive == "shard_map" else executions(equation, unknown_trips)
        for inner in jaxprs_in_params(equation.params):
            yield from ((name, times * steps) for name, steps in grid_steps(inner, unknown_trips))
