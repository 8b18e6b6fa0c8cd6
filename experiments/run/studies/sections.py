"""A study of sections: each measures something once over all seeds, judges the claims about it, and draws it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import matplotlib

from experiments.run.figures import STYLE, NamedFigure, save
from experiments.run.folder.continuation import Extension, extend_fields
from experiments.run.folder.json_types import to_json
from experiments.run.report import Table
from experiments.run.report.claim_lines import Line
from experiments.run.studies.study import Part, Row, Runner, Say, Study

C = TypeVar("C")


class Section(NamedTuple):
    """One section: its measurement, the verdicts on its claims, and its figures."""

    title: str
    measure: Callable[[Any], Any]
    """Configuration -> result."""
    verdict: Callable[[Any], list[Line]]
    draw: Callable[[Any], Iterable[NamedFigure]]


class SectionStudy(Study[dict[str, Row]]):
    """The sections of `config.only` as a study; its results are the rows by name of section.

    A subclass sets `program`, `continuation`, `sections` and `table_title`, and `title` when it is made.
    """

    bar = False  # trainings show bars of their own
    sections: Mapping[str, Section]
    """All sections of the program by name."""
    table_title: str
    """Title of the table of all claims."""

    def __init__(self, config: Any) -> None:
        """Take the configuration, which has `preset`, `only` and `seeds`."""
        self.config, self.stem, self.count = config, config.preset, len(config.only)

    def measure(self, runner: Runner) -> dict[str, Row]:
        """Measure the sections of `config.only`."""

        def part(name: str) -> Part:
            def measure(folder: Path, say: Say) -> Row:
                del say  # the trainings show their own progress
                return self.measure_section(name, folder)

            return Part(name, measure, title=self.sections[name].title)

        return dict(zip(self.config.only, runner.rows(map(part, self.config.only)), strict=True))

    def measure_section(self, name: str, folder: Path) -> Row:
        """Measure one section, save its figures, and return its lines and numbers."""
        section = self.sections[name]
        result = section.measure(self.config)
        with matplotlib.rc_context(STYLE):
            title = f"{self.program} {self.config.preset}, run folder {folder.name}: {section.title}"
            for file, figure in section.draw(result):
                save(figure, folder, file, title=title)
        return {"table": [list(line) for line in section.verdict(result)], "numbers": to_json(result)}

    def tabulate(self, results: dict[str, Row]) -> list[Table]:
        """Return one table of all claims."""
        rows = [(name, *line) for name, row in results.items() for line in row["table"]]
        return [Table(self.table_title, ("section", "claim", "measured", "verdict"), rows)]

    def summarize(self, results: dict[str, Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows by section."""
        del tables
        return {"preset": self.config.preset, "seeds": list(self.config.seeds)} | results


def extend_sections(program: str) -> Callable[[C, C], Extension[C]]:
    """Return what `--resume` does with other sections: the run then has those of the saved run too.

    The function raises ValueError if the seeds differ, since a section is one measurement over all of them.
    """

    def extend(saved: Any, config: Any) -> Extension[Any]:
        if config.seeds != saved.seeds:
            raise ValueError(
                f"a section of {program} is one measurement over all its seeds, which --resume cannot add, got a "
                f"difference in seeds: saved {list(saved.seeds)}, now {list(config.seeds)}; use the saved ones, or "
                f"another --out."
            )
        return extend_fields("only")(saved, config)

    return extend
