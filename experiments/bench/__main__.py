"""`python -m experiments.bench`."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy and SciPy are imported

import tyro  # noqa: E402

from experiments.bench.config import Config  # noqa: E402
from experiments.bench.program import main  # noqa: E402

if __name__ == "__main__":
    main(tyro.cli(Config))
