"""Cycles of the kernels of a TPU: bundles of the compiler's final schedule, times the steps of the grid.

A bundle takes at least one cycle. Waiting for memory is not in it, and a loop inside a kernel counts once, so the
product is a lower bound.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jax.extend.core import jaxprs_in_params

FLAGS = "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
"""Options of libtpu that write the schedules into a folder."""
_FILE = "*-schedule-analysis_final_bundles.txt"


def kernel_cycles(jaxpr: Any, folder: str) -> int:
    """Return the cycles of the kernels of a traced program, each run once.

    Args:
        jaxpr: the traced program.
        folder: where the compiler has written its schedules.
    """
    steps = dict(kernels(jaxpr))
    bundles = {}
    for path in sorted(Path(folder).glob(_FILE)):
        kernel = re.sub(r"^\d+-|(\.\d+)?-\d+-schedule-analysis_final_bundles\.txt$", "", path.name)
        total = re.search(r"total scheduled bundles: +(\d+)", path.read_text())
        if kernel in steps and total:
            bundles[path.name] = int(total.group(1)) * steps[kernel]
    return sum(bundles.values())


def kernels(jaxpr: Any) -> Iterator[tuple[str, int]]:
    """Yield name and number of grid steps of every kernel of a traced program."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        if equation.primitive.name == "pallas_call":
            yield equation.params["name"], math.prod(equation.params["grid_mapping"].grid)
        else:
            for inner in jaxprs_in_params(equation.params):
                yield from kernels(inner)
