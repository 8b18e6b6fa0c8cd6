"""The training of a family: all its variants and seeds in one program, tested, measured and saved.

S seeds, V variants, B rows of a batch
"""

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.data import arrays
from experiments.lra import Config as TaskConfig
from experiments.lra import program as lra_program
from experiments.lra.benchmark_tasks import HEADS, TASKS
from experiments.lra.learned import example_hits
from experiments.placement.layer_kinds import KINDS
from experiments.placement.member_results import MemberResult, count_parameters
from experiments.placement.switched_model import (
    Settings,
    initial_layers,
    make_settings,
    merge_parts,
    switched_loss,
)
from experiments.placement.variant_families import Variant, places_of
from experiments.run.training.member_loop import (
    Group,
    GroupFunctions,
    GroupRun,
    Validation,
    train_group,
)
from experiments.run.training.member_programs import MemberPrograms, gather, pad_variants
from pdeformer.model import ModelConfig

Splits = lra_program.Splits


class Family(NamedTuple):
    """A group of members, and the model that all its variants share."""

    config: TaskConfig
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    model: ModelConfig
    """The model with a layer at every place of the family."""
    places: tuple[str, ...]

    @property
    def head(self) -> str:
        """The head of the task."""
        return TASKS[self.config.task].head

    @property
    def settings(self) -> Settings:
        """The settings of all variants."""
        return make_settings(self.variants, self.places)

    @property
    def group(self) -> Group:
        """Names of the members."""
        names = tuple(variant.name for variant in self.variants)
        mark = zlib.crc32(repr((names, self.seeds)).encode())
        kind = self.variants[-1].kind or "baseline"
        title = f"{self.config.task}, {kind}: {len(names)} variants x {len(self.seeds)} seeds"
        return Group(f"{kind}-{mark}", title, names, self.seeds)

    def build(self, rngs: nnx.Rngs) -> Any:
        """Make the model with all layers."""
        return HEADS[TASKS[self.config.task].head](self.model, rngs)


def make_family(
    config: TaskConfig, variants: Sequence[Variant], seeds: Sequence[int], vocabulary: int, classes: int
) -> Family:
    """Return a family of variants of one kind.

    Raises:
        ValueError: the model of the task cannot have a layer at one of the places.
    """
    places = places_of(variants)
    kind = next((v.kind for v in variants if v.kind), "heat")
    model = config.network((), vocabulary, classes)
    model = dataclasses.replace(model, placements=places, stencil=KINDS[kind].stencil)
    return Family(config, tuple(variants), tuple(seeds), model, places)


def make_programs(family: Family, first_id: int, mesh: Mesh, concurrency: int) -> MemberPrograms:
    """Return the compiled functions of a family."""
    loss = lra_program.LOSSES[TASKS[family.config.task].head](first_id)
    return MemberPrograms(
        family.build,
        switched_loss(loss, family.places),
        merge_parts,
        family.config.optimizer,
        family.config.steps,
        mesh,
        concurrency,
    )


class FamilyTraining:
    """One family on its data: what the loop of its members calls, and what follows the last step."""

    def __init__(self, family: Family, splits: Splits, mesh: Mesh, concurrency: int) -> None:
        """Make the programs and place the settings on the devices."""
        self.family, self.splits = family, splits
        self.programs = make_programs(family, splits["train"].first_id, mesh, concurrency)
        count = len(family.variants) + -len(family.variants) % mesh.shape["data"]
        parts = initial_layers(family.variants, family.places, family.model)
        self._parts = self.programs.place(pad_variants(parts, count), split=True)
        self._settings = self.programs.place(pad_variants(family.settings, count), split=True)
        self._seeds = self.programs.place(np.array(family.seeds, np.uint32), split=False)

    def functions(self) -> GroupFunctions:
        """Return what the loop calls."""
        return GroupFunctions(self.start, self.advance, self.validate, self.programs.keep_best)

    def start(self) -> Any:
        """Return the initial state of all members."""
        return self.programs.start(self._seeds, self._settings, self._parts)

    def advance(self, state: Any, first: int, count: int) -> Any:
        """Make `count` steps; every member of a seed gets the batches of this seed."""
        batches = self.programs.place(self.batches(first, count), split=False)
        return self.programs.advance(state, self._settings, batches, self._seeds)

    def batches(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Return the batches (K, S, B, ...) of K steps."""
        config, data = self.family.config, self.splits["train"]
        rows = [
            [arrays.batch(data, config.batch, seed=seed, step=step)._asdict() for seed in self.family.seeds]
            for step in range(first, first + count)
        ]
        return {name: np.stack([[b[name] for b in seeds] for seeds in rows]) for name in rows[0][0]}

    def validate(self, params: Any) -> Validation:
        """Return loss and accuracy of all members on the validation split."""
        loss, hits = self.evaluate(params, "val")
        return Validation(loss, hits.mean(axis=-1))

    def evaluate(self, params: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean loss (S, V) and the hits (S, V, n) of all members on a split.

        An example whose logits are not finite is not right.
        """
        examples = len(self.splits[split].labels)
        loss, weight, hits = 0.0, 0.0, []
        for batch in self._all_examples(split):
            sums = jax.device_get(self.programs.evaluate(params, self._settings, batch))
            loss, weight = loss + np.asarray(sums.loss, float), weight + np.asarray(sums.weight, float)
            hits.append(np.nan_to_num(np.asarray(sums.hits)))
        return np.asarray(loss / weight), np.concatenate(hits, axis=-1)[..., :examples]

    def _all_examples(self, split: str) -> Iterator[dict[str, Any]]:
        for batch in arrays.evaluation_batches(self.splits[split], self.family.config.batch):
            yield self.programs.place(batch._asdict(), split=False)

    def parameters(self, params: Any, seed: int, variant: int) -> Any:
        """Return the parameters of one member. All hosts call this together."""
        return gather(jax.tree.map(lambda x: x[seed, variant], params))


def train_family(
    training: FamilyTraining, folder: run.Run, cadence: run.LoopIntervals
) -> tuple[GroupRun, list[tuple[MemberResult, example_hits.Hits]]]:
    """Train and test all members of a family; return the group, and a result and its hits for each member."""
    family = training.family
    tokens = family.config.batch * training.splits["train"].tokens[0].size
    group = train_group(
        folder,
        family.group,
        training.functions(),
        steps=family.config.steps,
        cadence=cadence,
        tokens_per_step=tokens,
    )
    losses, last = training.evaluate(group.state.states.params, "test")
    stopped, best_step, best_accuracy = (
        np.asarray(jax.device_get(x))
        for x in (group.state.stopped, group.state.best_step, group.state.best_accuracy)
    )
    is_last = (best_step == family.config.steps).all()
    best = last if is_last else training.evaluate(group.state.best, "test")[1]
    speed = tokens * group.steps / group.seconds if group.seconds else 0.0
    results = []
    for s, seed in enumerate(family.seeds):
        for v, variant in enumerate(family.variants):
            validation = group.validations[variant.name, seed]
            all_parameters, own = count_parameters(family.config, variant, family.model)
            result = MemberResult(
                variant.name,
                seed,
                family.config.steps,
                all_parameters,
                own,
                int(stopped[s, v]),
                validation.get("val_loss"),
                validation.get("val_accuracy"),
                int(best_step[s, v]),
                float(best_accuracy[s, v]) if best_step[s, v] else None,
                float(losses[s, v]) if np.isfinite(losses[s, v]) else None,
                float(np.float32(last[s, v].mean())),
                float(np.float32(best[s, v].mean())),
                speed,
                group.compile_seconds,
            )
            results.append((result, example_hits.Hits(_as_hits(last[s, v]), _as_hits(best[s, v]))))
    return group, results


def _as_hits(values: np.ndarray) -> np.ndarray:
    """Return hits as booleans, or shares of labels as they are."""
    rounded = np.round(values)
    return rounded.astype(bool) if np.allclose(values, rounded, atol=1e-6) else values.astype(np.float32)
