"""One of two hosts of the tiny program: `python -m tests.experiments.placement.placement_host OUT DATA ADDRESS HOST`.

Each host has two devices, which share every training; the hosts share the variants. A fifth word `resume` continues.
"""

import dataclasses
import sys
from pathlib import Path

from experiments import placement, run
from tests.experiments.placement.placement_tasks import CONFIG, small_listops

SHARED = dataclasses.replace(CONFIG, controls=(), rows=2)
"""One family, of three variants."""


def main(out: str, data: str, address: str, host: str, *words: str) -> None:
    """Train the members of the tiny task as one of two hosts."""
    config = dataclasses.replace(
        SHARED,
        out=Path(out),
        data_dir=Path(data),
        resume="resume" in words,
        mesh=placement.Mesh(data=2, model=2),
        hosts=run.Hosts(coordinator=address, count=2, index=int(host)),
    )
    with small_listops():
        placement.main(config)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except run.Preempted as stopped:
        run.end_process(stopped)
