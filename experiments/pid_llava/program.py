"""The program: captures, estimates and known directions one after another, tables, figures, `summary.json`."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from experiments import run
from experiments.data import activation_files
from experiments.pid_llava import decomposing, figures, known_effects, paper_claims, questions, report
from experiments.pid_llava.capturing import Captured, capture, changes
from experiments.pid_llava.checkpoint import Opened
from experiments.pid_llava.config import MAY_CHANGE_ON_RESUME, Config, Named
from experiments.pid_llava.decomposing import Decomposed
from experiments.pid_llava.known_effects import Direction
from experiments.pid_llava.paper_claims import Statement
from experiments.run.json_values import plain
from experiments.run.report import Table, show
from experiments.run.stages import Stages
from pid.toyworld import EXPECTED


class Found(NamedTuple):
    """All that a run has measured."""

    captured: list[Captured]
    decomposed: list[Decomposed]
    directions: list[Direction]
    doubts: tuple[str, ...]
    """What the answers give away, in plain sentences."""


def main(config: Config) -> dict[str, Any]:
    """Capture, decompose, compare with what is known, show and save what came out, and return the summary.

    Writes `summary.json` and figures into the run folder; captures and estimates lie in --kept, where the next run
    finds them. Several hosts share the work; the first of them reports.

    Raises:
        FileNotFoundError: no model folder, no data; before there is a run folder.
        FileExistsError: the run folder has files.
        ValueError: models or data that are none, a configuration that is not that of the run to go on with.
    """
    run.join(config.hosts, config.out)
    data = None if config.npz is None else _layered(activation_files.read(config.npz), config.npz)
    models = [] if data is not None else opened(config)
    out = config.out or run.next_folder(Path("runs/pid_llava"), config.preset)
    folder = run.open_run(out, config, resume=config.resume, free=MAY_CHANGE_ON_RESUME)
    console = _console()
    world = "GQA" if config.data is not None else "the toy world (synthetic)"
    what = config.npz.name if config.npz is not None else f"{', '.join(m.name for m in models)} in {world}"
    console.print(f"{what}; run folder {folder.folder}", markup=False)
    began = time.perf_counter()
    if data is not None:
        assert config.npz is not None
        found = of_file(data, config.npz.stem, config, console)
    else:
        found = measure(models, config, console)
    run.barrier()
    said = paper_claims.of_all(found.decomposed)
    least, how = config.asking.least, config.aggregate
    tables = report.all_tables(found.captured, found.decomposed, said, found.directions, how, least)
    summary = summarized(config, found, said, tables)
    if run.is_first():
        figures.draw(folder.folder, found.decomposed, found.captured)
        show(tables, console)
        _conclude(said, found, console)
    folder.summarize(summary)
    drawn = ", ".join(sorted(path.name for path in folder.folder.glob("*.png")))
    seconds = time.perf_counter() - began
    console.print(f"{seconds:.0f} s; wrote {folder.folder / 'summary.json'} {drawn}", markup=False)
    return summary | {"versions": run.versions()}


def opened(config: Config) -> list[Opened]:
    """The models.

    Raises FileNotFoundError, with what to do, for one that is not there.
    """
    if not config.model:
        raise FileNotFoundError(
            "a decomposition needs a model, got none; pass --model DIR, a LLaVA-1.5 or LLaVA-1.6 in the layout of "
            "Hugging Face, or leave the preset out for the toy models."
        )
    if config.preset == "gqa" and config.data is None:
        raise FileNotFoundError(
            "the preset gqa asks about photographs, got no --data; pass --data DIR, the folder with questions1.2 and "
            "images of GQA's download, extracted or as archives."
        )
    return [Opened(path, config.asking, config.mesh) for path in config.model]


def measure(models: Sequence[Opened], config: Config, console: Console) -> Found:
    """All models in all tasks by all configurations, and the corners of the toy world."""
    asked = questions.of_tasks(config)
    corners = (
        list(product(EXPECTED, config.corners.tasks)) if config.data is None and config.corners.rows else []
    )
    pairs, named = list(product(models, asked)), config.configs
    stages = Stages(console, "pid_llava", len(models) * (len(asked) * (1 + len(named)) + len(corners)))
    captured, known = [], []
    with stages:
        for model, about in pairs:
            windows = config.asking.windows
            with _stage(stages, f"capture {about.task}, {model.name}"):
                captured.append(capture(model, about, config, windows=windows))
        usable = [one for one in captured if len(one.used) >= config.asking.least]
        by_name = {model.name: model for model in models}
        share(
            product(usable, named),
            lambda one, name: decomposing.decompose(by_name[one.model], one, config, name, stages.say),
            lambda one, name: f"{name} estimate of {one.task}, {one.model}",
            stages,
        )
        found = [
            decomposing.decompose(by_name[one.model], one, config, name, lambda news: None)
            for one, name in product(usable, named)
        ]
        for model, (corner, task) in product(models, corners):
            with _stage(stages, f"{corner}: {task}, {model.name}"):
                known += known_effects.measure(model, corner, task, config)
    return Found(captured, found, known, tuple(sentence for about in asked for sentence in about.doubts))


def share(
    work: Iterator[tuple[Captured, Named]],
    do: Callable[[Captured, Named], object],
    title: Callable[[Captured, Named], str],
    stages: Stages,
) -> None:
    """Each host does its share and keeps it; afterwards all of it is there for all."""
    for at, (one, name) in enumerate(work):
        if at % jax.process_count() == jax.process_index():
            with _stage(stages, title(one, name)):
                do(one, name)
    run.barrier()


def of_file(data: activation_files.Activations, name: str, config: Config, console: Console) -> Found:
    """Activations of a file, by all configurations."""
    with Stages(console, "pid_llava", len(config.configs)) as stages:
        found = []
        for named in config.configs:
            with _stage(stages, f"{named} estimate of {name}"):
                found.append(decomposing.of_file(data, name, config, named))
    return Found([], found, [], ())


def _layered(data: activation_files.Activations, path: Path) -> activation_files.Activations:
    layers = {len(array) for array in data if array.ndim == 3}
    if max(layers, default=0) < 3:
        raise ValueError(
            f"layers are followed in arrays (layers, n, d) of three layers or more, got {[a.shape for a in data]} in "
            f"{path}; use python -m experiments.pid_gaussian --npz for arrays without layers."
        )
    return data


def summarized(
    config: Config, found: Found, said: Sequence[Statement], tables: Sequence[Table]
) -> dict[str, Any]:
    """All numbers as JSON knows them."""
    captured = [
        {
            "task": one.task,
            "model": one.model,
            "asked": len(one.right),
            "right": int(one.right.sum()),
            "used": len(one.used),
            "change": {name: values.mean() if len(values) else None for name, values in changes(one).items()},
        }
        for one in found.captured
    ]
    decomposed = [
        {
            "task": one.task,
            "model": one.model,
            "config": one.config,
            "layers": one.shown.to_records(),
            "knockout": decomposing.change(one),
        }
        for one in found.decomposed
    ]
    return {
        "program": "pid_llava",
        "preset": config.preset,
        "target": config.target,
        "sources": [config.x, config.y],
        "aggregate": config.aggregate,
        "doubts": found.doubts,
        "captured": plain(captured),
        "decomposed": plain(decomposed),
        "statements": plain(list(said)),
        "directions": plain(found.directions),
        "tables": plain(list(tables)),
    }


def _conclude(said: Sequence[Statement], found: Found, console: Console) -> None:
    """How often each statement holds, and which known directions did not come out."""
    for claim, config in dict.fromkeys((one.claim, one.config) for one in said):
        of = [one.verdict for one in said if (one.claim, one.config) == (claim, config)]
        counts = ", ".join(
            f"{verdict} in {of.count(verdict)}"
            for verdict in ("holds", "does not", "not decidable")
            if verdict in of
        )
        console.print(f"{claim} ({config}): {counts} of {len(of)}", markup=False)
    for doubt in found.doubts:
        console.print(doubt, markup=False)
    if found.directions:
        missed = [one for one in found.directions if one.verdict != "holds"]
        count = len(found.directions)
        console.print(
            f"known beforehand: {count - len(missed)} of {count} come out with an interval", markup=False
        )
        for one in missed:
            console.print(
                f"  {one.verdict}: {one.corner}, {one.task}, {one.model}: {one.claim}", markup=False
            )


def _console() -> Console:
    first = run.is_first()
    console = Console(soft_wrap=True, highlight=False, quiet=not first)
    if console.is_terminal:
        return console
    return Console(width=160, highlight=False, quiet=not first)  # a log file has no width of its own


class _stage:
    """A stage that begins and ends."""

    def __init__(self, stages: Stages, name: str):
        self._stages, self._name = stages, name

    def __enter__(self) -> None:
        self._stages.begin(self._name)

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._stages.end()
