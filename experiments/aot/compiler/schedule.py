"""Cycles of the kernels of a TPU: bundles of the compiler's final schedule, times the steps of the grid.

A bundle takes at least one cycle. Waiting for memory is not in it, and a loop inside a kernel counts once, so the
product is a lower bound. A grid step that a kernel skips counts in full.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_LABEL = "schedule-analysis_final_bundles"
FLAGS = "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=.*final_bundles.*"
"""Options of libtpu that write the schedules into a folder."""


def kernel_cycles(steps: Mapping[str, float], folder: str) -> float:
    """Return the cycles of the kernels of a compiled program.

    Args:
        steps: name of each kernel in the program → steps of its grid in all its executions.
        folder: where the compiler has written its schedules.
    """
    cycles = 0.0
    for path in sorted(Path(folder).glob(f"*-{_LABEL}.txt")):
        kernel = re.sub(rf"^\d+-|-\d+-{_LABEL}\.txt$", "", path.name)
        bundles = re.search(r"total scheduled bundles: +(\d+)", path.read_text())
        if kernel in steps and bundles:
            cycles += int(bundles.group(1)) * steps[kernel]
    return cycles
