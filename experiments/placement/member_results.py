"""The result of a member: a variant with a seed, saved as its row."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from experiments import run
from experiments.lra import Config as TaskConfig
from experiments.lra.benchmark_tasks import HEADS, TASKS
from experiments.lra.learned import example_hits
from experiments.placement.layer_kinds import KINDS
from experiments.placement.variant_families import Variant
from experiments.run.training.member_loop import finish_member
from pdeformer.model import ModelConfig

GROUPS = "groups"
"""Folder with a file for every group."""


class MemberResult(NamedTuple):
    """Result of one member: a variant with a seed. Accuracies are shares of 1; None stands for a missing number."""

    variant: str
    seed: int
    steps: int
    parameters: int
    """Parameters of the model with the layer of the variant alone."""
    layer_parameters: int
    """Parameters of that layer, in all blocks."""
    stopped: int
    """The step whose loss was not finite, 0 if there is none; the last weights are then those before it."""
    val_loss: float | None
    val_accuracy: float | None
    best_step: int
    best_val_accuracy: float | None
    test_loss: float | None
    test_accuracy: float
    best_test_accuracy: float
    tokens_per_second: float
    """Of the group, divided by its members."""
    compile_seconds: float
    """Time of the first call, which compiles, of the group."""


class SavedGroup(NamedTuple):
    """The members that trained together, whose checkpoint is that of all of them."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]


def save_group(folder: run.Run, name: str, group: SavedGroup) -> None:
    """Save which members train together, before their first step."""
    if run.is_first():
        path = folder.folder / GROUPS / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        run.write_atomically(path, (json.dumps(group._asdict()) + "\n").encode())


def saved_groups(folder: run.Run) -> list[SavedGroup]:
    """Return the groups of earlier starts.

    Raises:
        ValueError: a file is damaged.
    """
    return [_read_group(path) for path in sorted((folder.folder / GROUPS).glob("*.json"))]


def _read_group(path: Path) -> SavedGroup:
    remedy = "delete it, and --resume trains its members again that have no row"
    content: Any = run.read_json(path, remedy)
    try:
        group = SavedGroup(tuple(map(str, content["variants"])), tuple(map(int, content["seeds"])))
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} must name the variants and seeds of a group, got {content!r:.60}; {remedy}."
        ) from None
    return group


def save_member(folder: run.Run, result: MemberResult, hits: example_hits.Hits) -> None:
    """Save the hits and, at last, the row of a member; a member with a row is finished."""
    example_hits.save(folder, result.variant, result.seed, hits)
    finish_member(folder, result.variant, result.seed, result._asdict())


def read_member(folder: run.Run, variant: str, seed: int) -> MemberResult | None:
    """Return the result of a finished member, None if it has not finished.

    Raises:
        ValueError: its file is damaged.
    """
    if (row := folder.row(variant, seed)) is None:
        return None
    path = folder.row_path(variant, seed)
    if differing := sorted(row.keys() ^ set(MemberResult._fields)):
        raise ValueError(
            f"{path} must have the fields of a result, got a difference in {', '.join(differing)}; delete it, and "
            f"--resume computes it again."
        )
    if (row["variant"], row["seed"]) != (variant, seed) or not 0 <= (row["test_accuracy"] or 0) <= 1:
        raise ValueError(
            f"{path} must be the result of {variant}, seed {seed}, got {row['variant']!r:.40}, seed "
            f"{row['seed']!r:.9}, accuracy {row['test_accuracy']!r:.9}; delete it, and --resume computes it again."
        )
    return MemberResult(**row)


def count_parameters(config: TaskConfig, variant: Variant, family: ModelConfig) -> tuple[int, int]:
    """Return the parameters of the model of a variant, and those of its layer in all blocks."""
    stencil = KINDS[variant.kind].stencil if variant.kind else family.stencil
    places = (variant.place,) if variant.place else ()
    sizes = [
        _size(config, dataclasses.replace(family, placements=own, stencil=stencil)) for own in (places, ())
    ]
    return sizes[0], sizes[0] - sizes[1]


def _size(config: TaskConfig, model: ModelConfig) -> int:
    head = HEADS[TASKS[config.task].head]
    params = nnx.state(nnx.eval_shape(lambda: head(model, nnx.Rngs(0))), nnx.Param)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
