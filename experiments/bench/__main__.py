"""`python -m experiments.bench`."""

import tyro

from experiments.bench.config import Config
from experiments.bench.program import main

if __name__ == "__main__":
    main(tyro.cli(Config))
