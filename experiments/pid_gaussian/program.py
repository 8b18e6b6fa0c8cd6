"""Measure a study part by part, and write tables, figures and `summary.json`."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from experiments import run
from experiments.data.preparation.file_hashes import sha256
from experiments.pid_gaussian.config import Config
from experiments.pid_gaussian.presets import CONTINUATION
from experiments.pid_gaussian.studies import (
    bias,
    coverage,
    flow_recovery,
    own_activations,
    speed,
    transduction,
    trust,
)
from experiments.pid_gaussian.study_arrays import ARRAYS
from experiments.run.console import encodable
from experiments.run.report import Table


class StudyFunctions(NamedTuple):
    """The functions of one study: its parts, its tables and its figure."""

    title: str
    parts: Callable[[Config, int], list[run.Part]]
    report: Callable[[list[run.Row]], list[Table]]
    draw: Callable[[list[run.Row]], Figure] | None = None
    """None: the parts draw their own figures, or there is none."""
    lines: Callable[[list[run.Row]], list[str]] | None = None
    """Lines of text below the tables; None for no text."""


STUDIES: dict[str, StudyFunctions] = {
    "planted": StudyFunctions(
        "planted layers: truth against estimate", transduction.parts, transduction.report
    ),
    "bias": StudyFunctions("remaining bias", bias.parts, bias.report, bias.draw),
    "coverage": StudyFunctions(
        "how often intervals contain the truth", coverage.parts, coverage.report, coverage.draw
    ),
    "flow": StudyFunctions(
        "warped data: raw, copula, flow", flow_recovery.parts, flow_recovery.report, flow_recovery.draw
    ),
    "trust": StudyFunctions("verdicts in known situations", trust.parts, trust.report, trust.draw),
    "speed": StudyFunctions("decompositions and draws per second", speed.parts, speed.report),
    "activations": StudyFunctions(
        "activations from a file",
        own_activations.parts,
        own_activations.report,
        lines=own_activations.lines,
    ),
}


def main(config: Config) -> dict[str, Any]:
    """Measure every part of the study, show and save the results, and return the summary.

    Writes `summary.json` and figures beside the files of `experiments.run`; --npz adds `table.csv` and `table.json`.
    With `--resume`, finished parts are not repeated. Raises FileExistsError if the run folder has files, and the errors
    of `experiments.data.preparation.activation_files.read` before it creates the folder.
    """
    return run.run_study(GaussianStudy(config), config, out=config.out, resume=config.resume)


class GaussianStudy(run.Study[list[run.Row]]):
    """One of `STUDIES` with every seed; its results are the rows of all parts."""

    program = "pid_gaussian"
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Choose the study and list its parts, which reads and checks the file of --npz."""
        self.config, self.name = config, config.study if config.npz is None else "activations"
        if config.npz is None:
            run.check_memory(config, ARRAYS[config.study])
        self.functions = STUDIES[self.name]
        self.parts = [part for seed in config.seeds for part in self.functions.parts(config, seed)]
        self.title, self.stem, self.count = (
            self.functions.title,
            f"{config.preset}-{self.name}",
            len(self.parts),
        )

    def data_hashes(self) -> dict[str, str]:
        """Return the hash of the file of --npz."""
        return {} if self.config.npz is None else {"npz": sha256(self.config.npz)}

    def measure(self, runner: run.Runner) -> list[run.Row]:
        """Measure all parts."""
        return runner.rows(self.parts)

    def tabulate(self, results: list[run.Row]) -> list[Table]:
        """Return the tables of the study."""
        return self.functions.report(results)

    def draw(self, results: list[run.Row]) -> Iterator[tuple[str, Figure]]:
        """Yield the figure of the study, if it has one."""
        if self.functions.draw is not None:
            yield self.name, self.functions.draw(results)

    def conclude(self, results: list[run.Row], console: Console) -> None:
        """Print the report of an estimate without layers."""
        if self.functions.lines is not None:
            for line in ("", *self.functions.lines(results)):
                console.print(Text(encodable(line, getattr(console.file, "encoding", None))))

    def summarize(self, results: list[run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the choice of the study, its tables and its rows."""
        labels = {"preset": self.config.preset, "study": self.name, "seeds": list(self.config.seeds)}
        return labels | {"tables": run.to_json(tables), "parts": results}
