"""The section `checkpoint`: which kind of folder it is, the measures of all its models, table and figure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from experiments.run.figures import NamedFigure, series_style
from experiments.run.folder.continuation import program_of
from experiments.run.studies.study import Say
from experiments.stability.figures import panels
from experiments.stability.trained_layers import llava_folder, lra_run
from experiments.stability.trained_layers.layer_measures import LayerMeasures
from pdeformer.simulator import StateStatistics

Kind = Literal["lra", "llava"]
COLUMNS = {
    "norm": "norm",
    "relative_change": "change",
    "cosine_to_input": "cosine to input",
    "cka_to_input": "CKA to input",
    "token_similarity": "token similarity",
    "effective_rank": "effective rank",
    "roughness": "roughness",
    "dirichlet_energy": "Dirichlet energy",
    "attention_entropy": "entropy (nats)",
    "growth": "growth",
    "gradient": "gradient",
}
"""Measure -> its column in the table, and the title of its panel."""
LOGARITHMIC = ("norm", "dirichlet_energy", "growth", "gradient")


@dataclass(frozen=True)
class FolderResult:
    """The measures of all models of a folder. The axes are model and layer (0 before the first)."""

    kind: str
    """What the folder is and what the models read, in words."""
    models: tuple[str, ...]
    """Variant, seed and step, or the name of the folder."""
    loss: Float[np.ndarray, " m"]
    """Mean loss of every model in nats."""
    measures: dict[str, Float[np.ndarray, "m l"]]
    """Name of the measure -> its values; `growth` is that of a random perturbation in the layer, `gradient` the norm of
    the gradient of the loss with respect to the state."""


def kind_of(folder: Path) -> Kind:
    """Return what a folder holds.

    Raises:
        FileNotFoundError: it has no config.json.
        ValueError: it is neither a run of experiments.lra nor the folder of a LLaVA.
    """
    known = "--checkpoint reads a run folder of experiments.lra, or the folder of a LLaVA in the layout of Hugging Face"
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{known}, got {folder}, which has no config.json; pass one of these.")
    try:
        fields = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{known}, got {path}, which cannot be read ({error}); restore it.") from None
    if isinstance(fields, dict) and {"text_config", "vision_config"} <= fields.keys():
        return "llava"
    program = program_of(folder)
    if program == "lra":
        return "lra"
    other = f"a run of experiments.{program}" if program else "something else"
    raise ValueError(f"{known}, got {folder}, which is {other}; pass one of these.")


def measure(folder: Path, rows: int, say: Say) -> FolderResult:
    """Measure all models of a folder on the same rows."""
    if kind_of(folder) == "llava":
        prompts, measures = llava_folder.measure_folder(folder, rows)
        kind = f"language model of a LLaVA, {len(prompts.ids)} {prompts.kind}"
        return _stack(kind, {folder.resolve().name: measures})
    results = {}
    for training, measures in lra_run.measure_run(folder, rows):
        name = f"{training.variant}, seed {training.seed}, step {training.step}"
        say(name)
        results[name] = measures
    return _stack(f"run of experiments.lra, {rows} test rows of ListOps", results)


def _stack(kind: str, results: dict[str, LayerMeasures]) -> FolderResult:
    fields = [name for name in StateStatistics._fields if name in COLUMNS]
    values: dict[str, Any] = {
        name: np.stack([getattr(result.statistics, name) for result in results.values()]) for name in fields
    }
    values["growth"] = np.exp(
        np.stack([np.asarray(result.growth, np.float64) for result in results.values()])
    )
    values["gradient"] = np.stack([result.gradient for result in results.values()])
    loss = np.array([float(result.loss) for result in results.values()])
    return FolderResult(kind, tuple(results), loss, {name: values[name] for name in COLUMNS})


def table(result: FolderResult) -> list[tuple[str, ...]]:
    """Return one row of text for each model and layer; an empty row stands between two models."""
    rows: list[tuple[str, ...]] = []
    for index, model in enumerate(result.models):
        rows += [()] if rows else []
        for layer in range(next(iter(result.measures.values())).shape[1]):
            values = [values[index, layer] for values in result.measures.values()]
            rows.append((model, str(layer), *(_cell(value, layer) for value in values)))
    return rows


def _cell(value: float, layer: int) -> str:
    if np.isfinite(value):
        return f"{value:.3g}"
    return "-" if layer == 0 and np.isnan(value) else "not finite"


def draw(result: FolderResult) -> Iterator[NamedFigure]:
    """Draw every measure by layer, one line for each model."""
    figure, axes = panels(len(result.measures), columns=4)
    for axis, (name, values) in zip(axes, result.measures.items(), strict=True):
        layers = np.arange(values.shape[1])
        logarithmic = name in LOGARITHMIC
        for index, row in enumerate(values):
            row = np.where(np.isfinite(row) & ((row > 0) | (not logarithmic)), row, np.nan)
            axis.plot(layers, row, marker=".", **series_style(index))
        axis.set(title=COLUMNS[name], xlabel="layer", yscale="log" if logarithmic else "linear")
    figure.legend(axes[0].lines, list(result.models), loc="outside lower center", ncols=2)
    figure.suptitle(result.kind)
    yield "checkpoint", figure
