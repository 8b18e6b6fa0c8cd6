"""`python -m tests.experiments.aot.fake_compiler NAME FILE`: what `experiments.aot.compiler` does, without compiling.

The name of the case decides what happens: a "backward" program aborts the process as libtpu may, a "per channel" one
does not end, and the others are compiled.
"""

import json
import os
import sys
import time
from pathlib import Path

ROW = {
    "status": "compiled",
    "compile_seconds": 0.1,
    "argument_bytes": 100,
    "output_bytes": 100,
    "temporary_bytes": 50,
    "shared_bytes": 0,
    "total_bytes": 250,
    "least_bytes": 200,
    "moved_bytes": 300,
    "loaded_bytes": 300,
    "bytes_ratio": 1.5,
    "flops": 1e6,
    "flops_by_kind": {"bfloat16": 1e6},
    "cycles": 3000.0,
    "collectives": {"all-reduce": 2},
    "collective_bytes_by_kind": {"all-reduce": 64},
    "collective_bytes": 64,
    "collective_permutes": 0,
    "kernels": {},
    "kernel_steps": {},
    "loops_of_unknown_length": 0,
}


def main(name: str, file: str) -> None:
    """Write the row of a case, abort, or wait."""
    if "backward" in name:
        os.abort()
    if "per channel" in name:
        time.sleep(60)
    with Path(os.environ["FAKE_COMPILER_LOG"]).open("a") as log:
        log.write(f"{name}\n")
    Path(file).write_text(json.dumps(ROW))


if __name__ == "__main__":
    main(*sys.argv[1:3])
