"""Measure the sections one after another, and write table, figures and `summary.json`."""

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

from experiments import run
from experiments.run.figures import STYLE, save
from experiments.run.report import Table
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

SECTIONS: dict[str, run.Section] = {
    "initialization": run.Section(
        "residual, norm, gain, diffusivity and order in time at random weights",
        lambda config: initialization.measure(config.initialization, config.network, config.seeds),
        initialization.verdict,
        figures.draw_initialization,
    ),
    "horizon": run.Section(
        "the same time in finer steps and by better integrators",
        lambda config: horizon.measure(config.horizon, config.network, config.seeds),
        horizon.verdict,
        figures.draw_horizon,
    ),
    "training": run.Section(
        "residual, norm, gain, depth and order in time in training (synthetic recall task, ListOps)",
        lambda config: trainability.measure(config.training, config.seeds, trainability.mesh_of_devices()),
        training_claims.verdict,
        figures_trainings.draw_training,
    ),
    "fit": run.Section(
        "the simulator with shared weights, fitted to the layers of trained Transformers",
        lambda config: trajectory_fit.measure(config.fit, config.seeds),
        trajectory_fit.verdict,
        figures_fit.draw_fit,
    ),
    "analyses": run.Section(
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
    study = StabilityStudy(config) if config.checkpoint is None else CheckpointStudy(config)
    return run.run_study(study, config, out=config.out, resume=config.resume)


class StabilityStudy(run.SectionStudy):
    """The sections as a study."""

    program = "stability"
    continuation = CONTINUATION
    sections = SECTIONS
    table_title = "Transformers as a PDE: the claims, measured"
    title = "why a Transformer needs residual connections and LayerNorm, on a simulator without them"


class CheckpointStudy(run.SectionStudy):
    """The layers of trained models as a study of one part."""

    program = "stability"
    continuation = CONTINUATION

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        super().__init__(config)
        self.count, self.title = 1, f"the layers of trained models in {config.checkpoint}"

    def measure(self, runner: run.Runner) -> dict[str, run.Row]:
        """Measure the models of `config.checkpoint`."""
        part = run.Part(
            CHECKPOINT, partial(measure_checkpoint, self.config), title="the layers of trained models"
        )
        return {CHECKPOINT: runner.rows([part])[0]}

    def tabulate(self, results: dict[str, run.Row]) -> list[Table]:
        """Return one table of all layers."""
        row, names = results[CHECKPOINT], ("model", "layer", *model_folders.COLUMNS.values())
        return [Table(row["numbers"]["kind"], names, [tuple(cells) for cells in row["table"]])]


def measure_checkpoint(config: Config, folder: Path, say: run.Say) -> run.Row:
    """Measure the models of `config.checkpoint`, save the figure, and return table and numbers."""
    assert config.checkpoint is not None
    result = model_folders.measure(config.checkpoint, config.checkpoint_rows, say)
    with matplotlib.rc_context(STYLE):
        for file, figure in model_folders.draw(result):
            save(figure, folder, file, title=f"stability, run folder {folder.name}: {config.checkpoint}")
    return {"table": [list(cells) for cells in model_folders.table(result)], "numbers": run.to_json(result)}
