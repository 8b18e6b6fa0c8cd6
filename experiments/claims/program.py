"""The program: one section after another, table, figures, `summary.json`."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from experiments import run
from experiments.claims import figures, figures_trained, report
from experiments.claims.config import MAY_CHANGE_ON_RESUME, Config
from experiments.claims.measurements import (
    decay,
    entropy,
    gradients,
    instability,
    landscape,
    padding_artifact,
)


class Section(NamedTuple):
    """A measurement, what it says, and its figure."""

    title: str
    measure: Callable[[Config], Any]
    verdict: Callable[[Any], list[report.Line]]
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
    "artefact": Section(
        "language-model perplexity with PAD in the loss (synthetic text)",
        lambda config: padding_artifact.measure(config.artefact, config.seeds[: config.artefact.seeds]),
        padding_artifact.verdict,
        figures_trained.draw_artefact,
    ),
}


def main(config: Config) -> dict[str, Any]:
    """Measure every section of `config.only`, show and save what came out, and return the summary.

    Writes `summary.json` and one PNG per section beside what `experiments.run` keeps. Sections that have finished are
    not repeated under `--resume`. Raises FileExistsError if the run folder has files.
    """
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console = Console(width=140, highlight=False)  # a log file has no width of its own
    out = config.out or run.next_folder(Path("runs/claims"), config.preset)
    folder = run.open_run(out, config, resume=config.resume, free=MAY_CHANGE_ON_RESUME)
    console.print(f"run folder {folder.folder}", markup=False)
    began = time.perf_counter()
    for number, name in enumerate(config.only, 1):
        if folder.row(name, 0) is None:
            console.print(f"[{number}/{len(config.only)}] {name}: {SECTIONS[name].title}", markup=False)
            seconds = measure(name, config, folder)
            console.print(f"      {seconds:.1f} s, {folder.folder / name}.png", markup=False)
    rows = {name: folder.row(name, 0) or {} for name in config.only}
    report.show({name: [report.Line(*line) for line in row["table"]] for name, row in rows.items()}, console)
    summary = {"program": "claims", "preset": config.preset, "seeds": list(config.seeds)} | rows
    folder.summarize(summary)
    console.print(
        f"{time.perf_counter() - began:.0f} s; wrote {folder.folder / 'summary.json'}", markup=False
    )
    return summary | {"versions": run.versions()}


def measure(name: str, config: Config, folder: run.Run) -> float:
    """Measure one section, keep its numbers and figure, and return the seconds it took."""
    began, section = time.perf_counter(), SECTIONS[name]
    result = section.measure(config)
    with figures.style():
        section.draw(result).savefig(folder.folder / f"{name}.png", dpi=150)
    seconds = time.perf_counter() - began
    lines = [list(line) for line in section.verdict(result)]
    folder.finish(name, 0, {"seconds": seconds, "table": lines, "numbers": plain(result)})
    return seconds


def plain(value: Any) -> Any:
    """A result as JSON knows it: dataclasses as objects, arrays as lists to six digits, no NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array | tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
