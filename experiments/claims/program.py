"""Measure the sections one after another, and write table, figures and `summary.json`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from experiments import run
from experiments.claims import figures, figures_trained
from experiments.claims.claim_arrays import ARRAYS
from experiments.claims.config import FORMER_ARTIFACT, Config
from experiments.claims.measurements import (
    decay,
    entropy,
    gradients,
    instability,
    landscape,
    padding_artifact,
)
from experiments.claims.presets import CONTINUATION
from experiments.run.figures import save
from experiments.run.report import Table
from experiments.run.report.claim_lines import Line


class Section(NamedTuple):
    """One section: its measurement, the verdicts on its claims, and its figure."""

    title: str
    measure: Callable[[Config], Any]
    verdict: Callable[[Any], list[Line]]
    draw: Callable[[Any], Figure]


SECTIONS: dict[str, Section] = {
    "decay": Section(
        "attention against distance and pseudo-time",
        lambda config: decay.measure(config.decay),
        decay.verdict,
        figures.draw_decay,
    ),
    "entropy": Section(
        "entropy of attention rows under four equations",
        lambda config: entropy.measure(config.entropy),
        entropy.verdict,
        figures.draw_entropy,
    ),
    "instability": Section(
        "growth under the official causal step",
        lambda config: instability.measure(config.instability),
        instability.verdict,
        figures.draw_instability,
    ),
    "gradients": Section(
        "gradient norms with and without the PDE (synthetic recall task)",
        lambda config: gradients.measure(config.training, config.seeds),
        gradients.verdict,
        figures_trained.draw_gradients,
    ),
    "landscape": Section(
        "Hessian and slices of the loss (synthetic recall task)",
        lambda config: landscape.measure(config.training, config.landscape, config.seeds),
        landscape.verdict,
        figures_trained.draw_landscape,
    ),
    "artifact": Section(
        "language-model perplexity with PAD in the loss (synthetic text)",
        lambda config: padding_artifact.measure(config.artifact, config.seeds[: config.artifact.seeds]),
        padding_artifact.verdict,
        figures_trained.draw_artifact,
    ),
}


def main(config: Config) -> dict[str, Any]:
    """Measure every section of `config.only`, show and save the results, and return the summary.

    Writes `summary.json` and one PNG per section beside the files of `experiments.run`. With `--resume`, finished
    sections are not repeated. Raises FileExistsError if the run folder has files.
    """
    for name in config.only:
        run.check_memory(config, ARRAYS[name])
    if "decay" in config.only:
        decay.check(config.decay)
    if "instability" in config.only:
        instability.check(config.instability)
    return run.run_study(ClaimsStudy(config), config, out=config.out, resume=config.resume)


class ClaimsStudy(run.Study[dict[str, run.Row]]):
    """The sections as a study; its results are the rows by name of section."""

    program = "claims"
    bar = False  # the trained sections show bars of their own
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self.config, self.stem, self.count = config, config.preset, len(config.only)
        self.title = "claims of the Continuous-Time Attention paper"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Measure the sections of `config.only`."""
        parts = [
            run.Part(name, partial(measure_section, name, self.config), title=SECTIONS[name].title)
            for name in self.config.only
        ]
        return dict(zip(self.config.only, runner.rows(parts), strict=True))

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table of all claims."""
        rows = [(name, *line) for name, row in results.items() for line in row["table"]]
        columns = ("section", "claim", "measured", "verdict")
        return [Table("Continuous-Time Attention: the claims, measured", columns, rows)]

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows by section; `artifact` also under its former name."""
        del tables
        summary: dict[str, Any] = {"preset": self.config.preset, "seeds": list(self.config.seeds)}
        alias = {FORMER_ARTIFACT: results["artifact"]} if "artifact" in results else {}
        return summary | results | alias


FORMER_KEYS = {"gradients": {"course": "norms"}}
"""Section -> old name -> new name of arrays in `numbers`. Both are written for one release."""


def measure_section(name: str, config: Config, folder: Path, say: run.Say) -> run.Row:
    """Measure one section, save its figure, and return its lines and numbers."""
    del say  # the trainings show their own progress
    section = SECTIONS[name]
    result = section.measure(config)
    with figures.style():
        title = f"claims {config.preset}, run folder {folder.name}: {section.title}"
        save(section.draw(result), folder, name, title=title)
    numbers = run.to_json(result)
    numbers |= {old: numbers[new] for old, new in FORMER_KEYS.get(name, {}).items()}
    return {"table": [list(line) for line in section.verdict(result)], "numbers": numbers}
