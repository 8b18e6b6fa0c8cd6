"""Interface and runner of the programs that measure.

A program implements `Study`, and `run_study` runs it:

    open      create the run folder, or compare its configuration with that of the run to resume
    measure   `Study.measure` passes its parts to a `Runner`, which skips those that an earlier start has finished
    tabulate  `Study.tabulate` converts the results to tables
    draw      `Study.draw` yields figures of the results; a part may also save its own while it is measured
    conclude  write `summary.json` and figures, then print tables and the last lines

Several hosts measure the same parts, or share them (`Runner.share`); process 0 reports.
"""

import abc
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
from rich.console import Console

from experiments.run import figures
from experiments.run.console import open_console, safe_output, stop_if_failed
from experiments.run.distributed import barrier, is_first
from experiments.run.folder.continuation import Continuation
from experiments.run.folder.opening import next_folder, open_run
from experiments.run.folder.run_folder import Run
from experiments.run.progress import StudyProgress
from experiments.run.report import Layout, Table, show
from experiments.run.termination.preemption import stop_at_signals

R = TypeVar("R")
Row = dict[str, Any]
"""One result in the types of JSON."""
Say = Callable[[str], None]
"""Function that shows one line about the state of a part."""


class Part(NamedTuple):
    """One measurement of a study."""

    name: str
    """Unique in the study, for one seed."""
    measure: Callable[[Path, Say], Any]
    """(folder for files, `Say`) -> result."""
    seed: int | None = None
    """Seed of the measurement; None if it has no seed of its own."""
    title: str = ""
    """Text that the progress shows after the name."""


class Runner(NamedTuple):
    """Measures the parts of one run, and skips finished parts."""

    folder: Run
    progress: StudyProgress

    def rows(self, parts: Iterable[Part]) -> list[Row]:
        """Return the row of every part. A row in the run folder is read and not measured again.

        A new row also has the seconds of its measurement and, if the part has a seed, the part's name and seed.
        """
        return [self._row(part) for part in parts]

    def results(self, parts: Iterable[Part]) -> list[Any]:
        """Return the result of every part. Such parts read results of earlier runs from a cache of their own."""
        return [self._measure(part) for part in parts]

    def share(self, parts: Iterable[Part]) -> list[Any]:
        """Return the result of every part. Each host measures its share of the parts.

        A part saves its result to a folder that all hosts share, so that measuring it again only reads it.
        """
        parts = list(parts)
        results = self.measure_share(parts)
        return [
            results[index] if index in results else part.measure(self.folder.folder, lambda status: None)
            for index, part in enumerate(parts)
        ]

    def measure_share(self, parts: Iterable[Part]) -> dict[int, Any]:
        """Measure every n-th part on each of n hosts, wait for the other hosts, and return results by position."""
        results = {
            index: self._measure(part)
            for index, part in enumerate(parts)
            if index % jax.process_count() == jax.process_index()
        }
        barrier()
        return results

    def _row(self, part: Part) -> Row:
        labels = {} if part.seed is None else {"part": part.name, "seed": part.seed}
        row = self.folder.row(part.name, part.seed or 0)
        if row is not None:
            if differing := [
                f"{name}={row.get(name)!r:.40}" for name in labels if row.get(name) != labels[name]
            ]:
                raise ValueError(
                    f"{self.folder.row_path(part.name, part.seed or 0)} must be the result of {part.name}, seed "
                    f"{part.seed}, got {', '.join(differing)}; delete it, and --resume measures it again."
                )
            self.progress.skip(part.name)
            return row
        start = time.perf_counter()
        row = self._measure(part)
        row = labels | {"seconds": time.perf_counter() - start} | row
        self.folder.finish(part.name, part.seed or 0, row)
        return row

    def _measure(self, part: Part) -> Any:
        stop_if_failed("all finished parts are saved")
        self.folder.record_start()
        with self.progress.part(f"{part.name}: {part.title}" if part.title else part.name):
            return measure(part, self.folder.folder, self.progress.say)


def measure(part: Part, folder: Path, say: Say) -> Any:
    """Measure one part."""
    return part.measure(folder, say)


class Study(abc.ABC, Generic[R]):
    """Interface of a program for the runner. `R` is the type of all its results together."""

    program: ClassVar[str]
    """Name of the program; new run folders are created below runs/PROGRAM/."""
    layout: ClassVar[Layout] = Layout()
    """How its tables are printed."""
    dpi: ClassVar[int] = 150
    """Resolution of its figures."""
    bar: ClassVar[bool] = True
    """Whether one bar shows the progress; False if the parts show bars of their own."""
    continuation: ClassVar[Continuation[Any]] = Continuation()
    """What `--resume` accepts."""

    title: str
    """The first line that the program prints."""
    stem: str
    """Name of a new run folder, without its number."""
    count: int
    """Number of parts, for the progress."""

    @abc.abstractmethod
    def measure(self, runner: Runner) -> R:
        """Measure all parts by `runner` and return their results."""

    @abc.abstractmethod
    def tabulate(self, results: R) -> list[Table]:
        """Return the tables that the results support."""

    @abc.abstractmethod
    def summarize(self, results: R, tables: list[Table]) -> dict[str, Any]:
        """Return the entries of `summary.json`, without the name of the program, hashes of data and versions."""

    def data_hashes(self) -> dict[str, str]:
        """Return the hashes of the data by name, which a resumed run compares; none by default."""
        return {}

    def draw(self, results: R) -> Iterable[figures.NamedFigure]:
        """Return names and figures that need the results of all parts; none by default."""
        del results
        return ()

    def conclude(self, results: R, console: Console) -> None:  # noqa: B027  nothing by default
        """Print the lines below the tables."""


@safe_output("the run is finished and all its files are written")
@stop_at_signals()
def run_study(study: Study[Any], config: Any, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Run a study, from creating its folder to printing its last line, and return the summary.

    Args:
        study: the study.
        config: its configuration, a frozen dataclass, which is saved in the run folder.
        out: run folder; None takes the next free number below runs/PROGRAM/.
        resume: whether to continue the run in `out`; finished parts are only reported again.

    Raises:
        FileExistsError: the run folder has files and `resume` is False, or another process works in it.
        FileNotFoundError: there is no run to resume.
        Preempted: standard output has failed; all finished parts are saved.
        ValueError: the folder is no run, or the run has another configuration or other data.
    """
    out = out or next_folder(Path("runs") / study.program, study.stem)
    with open_run(out, config, resume=resume, continuation=study.continuation) as folder:
        return _run(study, folder)


def _run(study: Study[Any], folder: Run) -> dict[str, Any]:
    """Run a study in its folder."""
    folder.record_data(study.data_hashes())
    console = open_console()
    console.print(f"{study.title}; run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    start = time.perf_counter()
    with StudyProgress(console, study.program, study.count, bar=study.bar) as progress:
        results = study.measure(Runner(folder, progress))
    barrier()
    tables = study.tabulate(results)
    summary = {"program": study.program} | study.summarize(results, tables)
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    if is_first():
        title = f"{study.program} {study.stem}, run folder {folder.folder.name}"
        figures.save_all(study.draw(results), folder.folder, dpi=study.dpi, title=title)
        show(tables, console, study.layout)
        study.conclude(results, console)
    names = ", ".join(sorted(path.name for path in folder.folder.glob("*.png")))
    seconds = time.perf_counter() - start
    console.print(f"{seconds:.0f} s; wrote {folder.folder / 'summary.json'} {names}")
    return summary
