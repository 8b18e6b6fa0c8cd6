"""A study is a list of parts: each is measured once, kept as a row of the run, and skipped when it is resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config
from experiments.run.report import Table

Say = Callable[[str], None]
Row = dict[str, Any]  # what JSON knows; in a finished run with "part", "seed" and "seconds"


class Part(NamedTuple):
    """A name, unique in its study and seed, and the measurement, told where to write figures and how to say news."""

    name: str
    measure: Callable[[Path, Say], Row]


class Study(NamedTuple):
    """What is measured, and what the rows of all parts and seeds say."""

    title: str
    parts: Callable[[Config, int], list[Part]]
    report: Callable[[list[Row]], list[Table]]
    draw: Callable[[list[Row]], Figure] | None = None  # None: the parts draw what they measure
