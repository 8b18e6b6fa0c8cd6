"""`python -m experiments.aot.compiler NAME FILE [FOLDER]`: compile one case and write its row as JSON.

The process is expendable: the compiler of a TPU may abort it.
"""

import json
import sys
from pathlib import Path

from experiments.aot.cases.catalog import all_cases
from experiments.aot.compiler.measurement import measure


def main(name: str, file: str, dump: str | None = None) -> None:
    """Compile the case of this name, and write its row into the file."""
    Path(file).write_text(json.dumps(measure(all_cases()[name], dump)))


if __name__ == "__main__":
    main(*sys.argv[1:])
