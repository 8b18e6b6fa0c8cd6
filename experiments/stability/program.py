"""Measure the sections one after another, and write table, figures and `summary.json`."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

from experiments import run
from experiments.run.figures import STYLE, NamedFigure, save
from experiments.run.report import Table
from experiments.run.report.claim_lines import Line
from experiments.stability import figures, figures_fit, figures_trainings
from experiments.stability.analyses import analysis_section
from experiments.stability.analyses.figures import draw_section
from experiments.stability.config import Config
from experiments.stability.measurements import (
    horizon,
    initialization,
    trainability,
    training_claims,
    trajectory_fit,
)
from experiments.stability.presets import CONTINUATION
from experiments.stability.stability_arrays import ARRAYS
from experiments.stability.trained_layers import model_folders
from experiments.stability.trajectories.language_states import check_folder


class Section(NamedTuple):
    """One section: its measurement, the verdicts on its claims, and its figures."""

    title: str
    measure: Callable[[Config], Any]
    verdict: Callable[[Any], list[Line]]
    draw: Callable[[Any], Iterable[NamedFigure]]


SECTIONS: dict[str, Section] = {
    "initialization": Section(
        "residual, norm, gain, diffusivity and order in time at random weights",
        lambda config: initialization.measure(config.initialization, config.network, config.seeds),
        initialization.verdict,
        figures.draw_initialization,
    ),
    "horizon": Section(
        "the same time in finer steps and by better integrators",
        lambda config: horizon.measure(config.horizon, config.network, config.seeds),
        horizon.verdict,
        figures.draw_horizon,
    ),
    "training": Section(
        "residual, norm, gain, depth and order in time in training (synthetic recall task, ListOps)",
        lambda config: trainability.measure(config.training, config.seeds, trainability.mesh_of_devices()),
        training_claims.verdict,
        figures_trainings.draw_training,
    ),
    "fit": Section(
        "the simulator with shared weights, fitted to the layers of trained Transformers",
        lambda config: trajectory_fit.measure(config.fit, config.seeds),
        trajectory_fit.verdict,
        figures_fit.draw_fit,
    ),
    "analyses": Section(
        "information flow, attention, bottleneck, gradient flow and perturbations (synthetic recall task)",
        lambda config: analysis_section.measure(config.analyses, config.seeds),
        analysis_section.verdict,
        draw_section,
    ),
}


CHECKPOINT = "checkpoint"
"""Name of the only section of a run with --checkpoint."""


def main(config: Config) -> dict[str, Any]:
    """Measure every section of `config.only`, show and save the results, and return the summary.

    Writes `summary.json` and the figures of every section. With `--resume`, finished sections are not repeated.
    Raises FileExistsError if the run folder has files, FileNotFoundError if --fit.smollm2 is no folder of a model.
    """
    if config.checkpoint is not None:
        model_folders.kind_of(config.checkpoint)
    for name in config.only if config.checkpoint is None else ():
        run.check_memory(config, ARRAYS[name])
    if "fit" in config.only and config.fit.smollm2 is not None:
        check_folder(config.fit.smollm2)
    return run.run_study(StabilityStudy(config), config, out=config.out, resume=config.resume)


class StabilityStudy(run.Study[dict[str, run.Row]]):
    """The sections as a study; its results are the rows by name of section."""

    program = "stability"
    bar = False  # the trained sections show bars of their own
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self.sections: tuple[str, ...] = config.only if config.checkpoint is None else (CHECKPOINT,)
        self.config, self.stem, self.count = config, config.preset, len(self.sections)
        self.title = "why a Transformer needs residual connections and LayerNorm, on a simulator without them"
        if config.checkpoint is not None:
            self.title = f"the layers of trained models in {config.checkpoint}"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Measure the sections of `config.only`, or the models of `config.checkpoint`."""
        parts = [
            run.Part(
                CHECKPOINT, partial(measure_checkpoint, self.config), title="the layers of trained models"
            )
            if name == CHECKPOINT
            else run.Part(name, partial(measure_section, name, self.config), title=SECTIONS[name].title)
            for name in self.sections
        ]
        return dict(zip(self.sections, runner.rows(parts), strict=True))

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table of all claims, or of all layers."""
        if CHECKPOINT in results:
            row, names = results[CHECKPOINT], ("model", "layer", *model_folders.COLUMNS.values())
            return [Table(row["numbers"]["kind"], names, [tuple(cells) for cells in row["table"]])]
        rows = [(name, *line) for name, row in results.items() for line in row["table"]]
        columns = ("section", "claim", "measured", "verdict")
        return [Table("Transformers as a PDE: the claims, measured", columns, rows)]

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows by section."""
        del tables
        return {"preset": self.config.preset, "seeds": list(self.config.seeds)} | results


def measure_checkpoint(config: Config, folder: Path, say: run.Say) -> run.Row:
    """Measure the models of `config.checkpoint`, save the figure, and return table and numbers."""
    assert config.checkpoint is not None
    result = model_folders.measure(config.checkpoint, config.checkpoint_rows, say)
    with matplotlib.rc_context(STYLE):
        for file, figure in model_folders.draw(result):
            save(figure, folder, file, title=f"stability, run folder {folder.name}: {config.checkpoint}")
    return {"table": [list(cells) for cells in model_folders.table(result)], "numbers": run.to_json(result)}


def measure_section(name: str, config: Config, folder: Path, say: run.Say) -> run.Row:
    """Measure one section, save its figures, and return its lines and numbers."""
    del say  # the trainings show their own progress
    section = SECTIONS[name]
    result = section.measure(config)
    with matplotlib.rc_context(STYLE):
        title = f"stability {config.preset}, run folder {folder.name}: {section.title}"
        for file, figure in section.draw(result):
            save(figure, folder, file, title=title)
    return {"table": [list(line) for line in section.verdict(result)], "numbers": run.to_json(result)}
