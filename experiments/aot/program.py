"""Compile the cases, and write tables, figures and `summary.json`."""

from collections.abc import Iterator
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure
from rich.console import Console

from experiments import run
from experiments.aot.cases.case import Case
from experiments.aot.cases.catalog import QUICK, all_cases
from experiments.aot.config import CONTINUATION, Config
from experiments.aot.figures import draw_memory, draw_roofline
from experiments.aot.report import markdown, tables
from experiments.aot.subprocesses import Pool
from experiments.aot.targets import TARGETS, missing_wheel
from experiments.aot.verdict import finish, violations
from experiments.run.report import Layout, Table

PLATFORMS = ("tpu", "gpu")


def main(config: Config) -> dict[str, Any]:
    """Compile the cases of the configuration, show and save the results, and return the summary.

    Its entry `violations` lists what does not fit, does not compile, or breaks a bound.

    Raises:
        ImportError: no compiler of a chosen machine is installed.
    """
    cases = chosen(config)
    missing = {platform: missing_wheel(platform) for platform in PLATFORMS}
    present = {name: case for name, case in cases.items() if not missing[TARGETS[case.target].platform]}
    if not present:
        commands = sorted({str(missing[TARGETS[case.target].platform]) for case in cases.values()})
        raise ImportError(
            f"compiling for absent machines needs their compilers, got none of them; {' or '.join(commands)}."
        )
    notes = [
        f"no compiler for {platform}, {count} programs are left out; {missing[platform]} installs it"
        for platform in PLATFORMS
        if (count := sum(TARGETS[case.target].platform == platform for case in cases.values()))
        and missing[platform]
    ]
    return run.run_study(AotStudy(present, config, notes), config, out=config.out, resume=config.resume)


def chosen(config: Config) -> dict[str, Case]:
    """Return the cases of a configuration by their names.

    Raises:
        ValueError: there is none.
    """
    cases = all_cases()
    if config.quick:
        return {name: cases[name] for name in QUICK}
    result = {
        name: case
        for name, case in cases.items()
        if case.group in config.only and case.target in config.machines and (config.match or "") in name
    }
    if not result:
        raise ValueError(
            f"a run compiles one or more programs, got none with --only {' '.join(config.only)} --machines "
            f"{' '.join(config.machines)} --match {config.match!r}; choose more."
        )
    return result


class AotStudy(run.Study[dict[str, run.Row]]):
    """The cases as a study; its results are the finished rows by name."""

    program = "aot"
    layout = Layout(justify="right")
    continuation = CONTINUATION

    def __init__(self, cases: dict[str, Case], config: Config, notes: list[str]) -> None:
        """Take the cases, the configuration, and sentences about what is left out."""
        self.cases, self.config, self.notes = cases, config, notes
        self.stem, self.count = "aot", len(cases)
        self.folder: Path | None = None
        self.title = f"{len(cases)} programs for absent machines, jax {jax.__version__}; nothing runs"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Compile the cases, a few at a time."""
        self.folder = runner.folder.folder
        unfinished = [case for name, case in self.cases.items() if runner.folder.row(name, 0) is None]
        with Pool(self.config.jobs, self.config.timeout) as pool:
            names = {future: name for name, future in pool.submit(unfinished).items()}
            finished = [name for name in self.cases if name not in names.values()]

            def parts() -> Iterator[run.Part]:
                """Yield a part as soon as its process has ended, so that a kill loses only what is being compiled."""
                yield from (run.Part(name, _unexpected) for name in finished)
                for future in as_completed(names):
                    row = future.result()
                    title = f"{row['status']} in {row['seconds']:.0f} s"
                    finished.append(names[future])
                    yield run.Part(names[future], partial(_result, row), title=title)

            rows = runner.rows(parts())
        by_name = dict(zip(finished, rows, strict=True))
        return {name: finish(case, by_name[name]) for name, case in self.cases.items()}

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table for each group."""
        return tables(list(results.values()))

    def draw(self, results: dict[str, run.Row]) -> Iterator[tuple[str, Figure]]:
        """Yield the figures."""
        rows = list(results.values())
        for name, figure in (("roofline", draw_roofline(rows)), ("memory", draw_memory(rows))):
            if figure is not None:
                yield name, figure

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the configuration, all rows, and what does not reach its bound; write the tables in Markdown."""
        if self.folder is not None and run.is_first():
            run.write_atomically(self.folder / "tables.md", markdown(tables).encode())
        broken = [violation._asdict() for violation in violations(self.cases, results)]
        return {
            "config": run.to_json(self.config),
            "rows": run.to_json(list(results.values())),
            "violations": run.to_json(broken),
        }

    def conclude(self, results: dict[str, run.Row], console: Console) -> None:
        """Print what is left out, and what does not reach its bound."""
        broken = violations(self.cases, results)
        for line in (*self.notes, *(violation.sentence for violation in broken)):
            console.print(line, markup=False)
        bounds = sum(len(self.cases[name].bounds) for name in results)
        console.print(f"{len(results)} programs, {bounds} bounds, {len(broken)} not reached")


def _result(row: run.Row, folder: Path, say: run.Say) -> run.Row:
    """Return the row of a case whose process has ended."""
    del folder, say
    return row


def _unexpected(folder: Path, say: run.Say) -> run.Row:
    """Refuse to measure a part that has a row."""
    raise AssertionError(f"a finished part is read from {folder}")
