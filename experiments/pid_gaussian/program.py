"""The program: the parts of a study one after another, tables, figures, `summary.json`."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import run
from experiments.pid_gaussian.config import MAY_CHANGE_ON_RESUME, Config
from experiments.pid_gaussian.part import Part, Row, Study
from experiments.pid_gaussian.studies import (
    bias,
    coverage,
    flow_recovery,
    own_activations,
    speed,
    transduction,
)
from experiments.run import report
from experiments.run.json_values import plain
from experiments.run.stages import Stages

STUDIES: dict[str, Study] = {
    "planted": Study("planted layers: truth against estimate", transduction.parts, transduction.report),
    "bias": Study("what is left of the bias", bias.parts, bias.report, bias.draw),
    "coverage": Study(
        "how often intervals contain the truth", coverage.parts, coverage.report, coverage.draw
    ),
    "flow": Study(
        "warped data: raw, copula, flow", flow_recovery.parts, flow_recovery.report, flow_recovery.draw
    ),
    "speed": Study("decompositions and draws per second", speed.parts, speed.report),
    "activations": Study("activations from a file", own_activations.parts, own_activations.report),
}


def main(config: Config) -> dict[str, Any]:
    """Measure every part of the study, show and save what came out, and return the summary.

    Writes `summary.json` and figures beside what `experiments.run` keeps; with --npz `table.csv` and `table.json` too.
    Parts that have finished are not repeated under `--resume`. Raises FileExistsError if the run folder has files, and
    what `experiments.data.activations.read` raises before there is a folder.
    """
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console = Console(width=140, highlight=False)  # a log file has no width of its own
    name = config.study if config.npz is None else "activations"
    study = STUDIES[name]
    parts = [(seed, part) for seed in config.seeds for part in study.parts(config, seed)]
    out = config.out or run.next_folder(Path("runs/pid_gaussian"), f"{config.preset}-{name}")
    folder = run.open_run(out, config, resume=config.resume, free=MAY_CHANGE_ON_RESUME)
    console.print(f"{study.title}; run folder {folder.folder}", markup=False)
    began = time.perf_counter()
    rows = measure(parts, folder, Stages(console, name, len(parts)))
    if study.draw is not None:
        study.draw(rows).savefig(folder.folder / f"{name}.png", dpi=150)
    tables = study.report(rows)
    report.show(tables, console)
    summary = {"program": "pid_gaussian", "preset": config.preset, "study": name, "seeds": list(config.seeds)}
    summary |= {"tables": plain(tables), "parts": rows}
    folder.summarize(summary)
    drawn = ", ".join(sorted(path.name for path in folder.folder.glob("*.png")))
    console.print(
        f"{time.perf_counter() - began:.0f} s; wrote {folder.folder / 'summary.json'} {drawn}", markup=False
    )
    return summary | {"versions": run.versions()}


def measure(parts: list[tuple[int, Part]], folder: run.Run, stages: Stages) -> list[Row]:
    """The rows of all parts; those that are in the folder are not measured again."""
    rows = []
    with stages:
        for seed, part in parts:
            stages.begin(part.name)
            row = folder.row(part.name, seed)
            if skipped := row is not None:
                rows.append(row)
            else:
                began = time.perf_counter()
                row = part.measure(folder.folder, stages.say)
                row = {"part": part.name, "seed": seed, "seconds": time.perf_counter() - began} | row
                folder.finish(part.name, seed, row)
                rows.append(row)
            stages.end(skipped=skipped)
    return rows
