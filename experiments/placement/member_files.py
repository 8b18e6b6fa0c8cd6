"""What a member leaves in the run folder besides its row: stencils, and measures at the sites.

stencils/VARIANT-SEED.npz   taps of its layer, with the weights that are best on validation
sites/VARIANT-SEED.json     measures at every site, with these weights and, for the baseline, the initial ones
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments import run
from experiments.data import arrays
from experiments.lra.learned import learned_stencils
from experiments.placement.family_training import FamilyTraining
from experiments.placement.layer_kinds import KINDS
from experiments.placement.sites.site_measures import measure_insertions, measure_states, to_rows
from experiments.placement.switched_model import OUTSIDE_BLOCKS
from experiments.placement.variant_families import BASE, Variant
from experiments.run.training.member_loop import GroupRun

INSERTION_ROWS = 4
"""Rows of the perturbation bound, which takes many passes."""


def taps_of(training: FamilyTraining, params: Any, variant: Variant) -> learned_stencils.Taps:
    """Return {place: taps (L, D, K)} of the layer of one member; L or D is 1 if blocks or channels share them."""
    model, place = training.family.model, variant.place
    if variant == BASE:
        return {}
    if variant.kind == "heat":
        alpha = float(variant.alpha or 0)
        return {place: np.array([[[alpha, 1 - 2 * alpha, alpha]]], np.float32)}
    inside = place not in OUTSIDE_BLOCKS
    own = params["blocks"]["stencils"][place] if inside else params[place]
    channels = model.hook_width(place) if inside else model.width
    stencil = KINDS[variant.kind].stencil
    layer = nnx.eval_shape(lambda: stencil.build(channels))
    graphdef, _ = nnx.split(layer)
    return {place: learned_stencils.of_layer(nnx.merge(graphdef, jax.tree.map(np.asarray, own)))}


def measure_sites(
    training: FamilyTraining, params: Any, variant: int, rows: int, *, insertions: bool
) -> list[dict[str, Any]]:
    """Return the measures of one member at every site.

    Args:
        training: its family.
        params: its parameters.
        variant: its index in the family.
        rows: number of validation rows.
        insertions: whether to measure the perturbation bound as well.
    """
    family, split = training.family, training.splits["val"]
    batch = next(arrays.evaluation_batches(split, min(rows, len(split.labels))))
    tokens, segment_ids = arrays.model_inputs(batch.tokens, batch.lengths, split.first_id)
    if tokens.ndim == 3:  # pairs: the first tower
        tokens, segment_ids = tokens[:, 0], segment_ids[:, 0]
    settings = jax.tree.map(lambda x: x[variant], family.settings)
    static: Any = {"graphdef": training.programs.graphdef, "places": family.places}
    states = measure_states(params, settings, tokens, segment_ids, **static)
    few = slice(min(rows, INSERTION_ROWS))
    bound = (
        measure_insertions(params, settings, tokens[few], segment_ids[few], **static) if insertions else None
    )
    return to_rows(jax.device_get(states), jax.device_get(bound), family.model.layers)


def save_files(
    training: FamilyTraining, group: GroupRun, folder: run.Run, rows: int, *, bound_of: int
) -> None:
    """Save stencils and measures of all members of a family; process 0 does, and all hosts call this together.

    Args:
        training: the family.
        group: its members after the last step.
        folder: the run.
        rows: number of validation rows that are measured; 0 measures nothing.
        bound_of: the seed whose baseline has the perturbation bound.
    """
    family = training.family
    initial = training.start() if rows and BASE in family.variants else None
    for s, seed in enumerate(family.seeds):
        for v, variant in enumerate(family.variants):
            params = training.parameters(group.state.best, s, v)
            weights = {"best": params}
            if initial is not None and variant == BASE:
                weights["initial"] = training.parameters(initial.states.params, s, v)
            if not run.is_first():
                continue
            learned_stencils.save(folder, variant.name, seed, taps_of(training, params, variant))
            if rows:
                with_bound = variant == BASE and seed == bound_of
                sites = {
                    name: measure_sites(training, own, v, rows, insertions=with_bound)
                    for name, own in weights.items()
                }
                _write(folder, variant.name, seed, sites)


def _write(folder: run.Run, variant: str, seed: int, sites: dict[str, Any]) -> None:
    path = sites_path(folder, variant, seed)
    path.parent.mkdir(exist_ok=True)
    run.write_atomically(path, (json.dumps(run.to_json(sites)) + "\n").encode())


def sites_path(folder: run.Run, variant: str, seed: int) -> Path:
    """Return the file with the measures of a member."""
    return folder.folder / "sites" / f"{variant}-{seed}.json"


def load_sites(folder: run.Run, variant: str, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return {weights: measures at every site} of a member, {} if they were not measured.

    Raises:
        ValueError: the file is damaged.
    """
    path = sites_path(folder, variant, seed)
    return run.read_json(path, run.remedy_of_row(folder, variant, seed)) if path.exists() else {}
