"""The presets, as values, and the command line that begins with one of them."""

import dataclasses
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import tyro

from experiments.pid_gaussian.config import Bias, Config, Coverage, Flow, Planted, Speed

QUICK = Config(flow=Flow(n=3000))
"""python -m experiments.pid_gaussian

QUICKTEXT
"""

FULL = dataclasses.replace(
    QUICK,
    preset="full",
    planted=Planted(draws=1000, shuffles=200, networks=100),
    bias=Bias(repeats=100),
    coverage=Coverage(repeats=500),
    flow=Flow(n=10_000),
    speed=Speed(batch=256),
)
"""python -m experiments.pid_gaussian full --study coverage

FULLTEXT
"""

PRESETS: dict[str, tuple[str, Config]] = {
    "quick": ("Small; minutes on two CPU cores, no download. The default.", QUICK),
    "full": ("More repeats, draws and samples.", FULL),
}
"""Name -> (one line for `--help`, values)."""


def command_line(arguments: Sequence[str]) -> Config:
    """The configuration of a command line: a preset (none is `quick`), then fields that differ from it.

    Exits with code 2 and a message, and a suggestion for a misspelt name, if it cannot be read.
    """
    arguments = list(arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["quick", *arguments]
    if not arguments[0].startswith("-") and arguments[0] not in PRESETS:
        near = get_close_matches(arguments[0], PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else "choose among them."
        print(f"a preset is one of {', '.join(PRESETS)}, got {arguments[0]!r}; {hint}", file=sys.stderr)
        raise SystemExit(2)
    return tyro.extras.overridable_config_cli(
        PRESETS,
        args=arguments,
        prog="python -m experiments.pid_gaussian",
        description="Gaussian partial information decomposition of samples: truth against estimate, and your own "
        "activations. Begin with a preset; without one it is quick. `PRESET --help` lists the options.",
    )
