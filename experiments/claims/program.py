"""Measure the sections one after another, and write table, figures and `summary.json`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from experiments.run import figures as run_figures
from experiments.run.report import Table


def _one(name: str, draw: Callable[[Any], Figure]) -> Callable[[Any], list[run_figures.NamedFigure]]:
    """Return the drawing of a section with one figure, which has its name."""
    return lambda result: [(name, draw(result))]


SECTIONS: dict[str, run.Section] = {
    "decay": run.Section(
        "attention against distance and pseudo-time",
        lambda config: decay.measure(config.decay),
        decay.verdict,
        _one("decay", figures.draw_decay),
    ),
    "entropy": run.Section(
        "entropy of attention rows under four equations",
        lambda config: entropy.measure(config.entropy),
        entropy.verdict,
        _one("entropy", figures.draw_entropy),
    ),
    "instability": run.Section(
        "growth under the official causal step",
        lambda config: instability.measure(config.instability),
        instability.verdict,
        _one("instability", figures.draw_instability),
    ),
    "gradients": run.Section(
        "gradient norms with and without the PDE (synthetic recall task)",
        lambda config: gradients.measure(config.training, config.seeds),
        gradients.verdict,
        _one("gradients", figures_trained.draw_gradients),
    ),
    "landscape": run.Section(
        "Hessian and slices of the loss (synthetic recall task)",
        lambda config: landscape.measure(config.training, config.landscape, config.seeds),
        landscape.verdict,
        _one("landscape", figures_trained.draw_landscape),
    ),
    "artifact": run.Section(
        "language-model perplexity with PAD in the loss (synthetic text)",
        lambda config: padding_artifact.measure(config.artifact, config.seeds[: config.artifact.seeds]),
        padding_artifact.verdict,
        _one("artifact", figures_trained.draw_artifact),
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


FORMER_KEYS = {"gradients": {"course": "norms"}}
"""Section -> old name -> new name of arrays in `numbers`. Both are written for one release."""


class ClaimsStudy(run.SectionStudy):
    """The sections as a study."""

    program = "claims"
    continuation = CONTINUATION
    sections = SECTIONS
    table_title = "Continuous-Time Attention: the claims, measured"
    title = "claims of the Continuous-Time Attention paper"

    def measure_section(self, name: str, folder: Path) -> run.Row:
        """Measure one section; arrays have their former names too."""
        row = super().measure_section(name, folder)
        former = {old: row["numbers"][new] for old, new in FORMER_KEYS.get(name, {}).items()}
        return row | {"numbers": row["numbers"] | former}

    def summarize(self, results: dict[str, run.Row], tables: list[Table]) -> dict[str, Any]:
        """Return the rows by section; `artifact` also under its former name."""
        alias = {FORMER_ARTIFACT: results["artifact"]} if "artifact" in results else {}
        return super().summarize(results, tables) | alias
