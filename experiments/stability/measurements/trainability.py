"""Claim: without residual connection or LayerNorm a Transformer does not train. Measured by training.

Every combination of norm, residual ρ ∈ {1, 0}, gain and depth is trained on recall of the first token, and the corners
also on ListOps. Second order in time is trained with pre-LN and the residual connection; it needs parallel splitting,
so first order with parallel splitting is trained beside it. All settings of a seed share weights and batches.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from experiments.stability.config import Training
from experiments.stability.measurements.initialization import RESIDUALS
from experiments.stability.measurements.random_networks import NORMS, combinations
from experiments.stability.networks.grid_training import (
    GridRun,
    GridTrainer,
    Records,
    TrainingPoints,
)
from experiments.stability.networks.sequence_tasks import Chance, Recall, ShortListOps, Task
from pdeformer import sharding, train
from pdeformer.simulator import Coefficients, SimulatorConfig

CORNER_NORMS = ("none", "pre")


class Setting(NamedTuple):
    """One network, which is trained with every seed."""

    norm: str
    residual: float
    gain: float
    depth: int
    order: int = 1
    splitting: str = "sequential"


class Program(NamedTuple):
    """Settings that train at once: those that differ in residual and gain only."""

    norm: str
    depth: int
    residuals: tuple[float, ...] = RESIDUALS
    order: int = 1
    splitting: str = "sequential"

    @property
    def title(self) -> str:
        """Text of the progress."""
        return f"norm {self.norm}, {self.depth} layers, order {self.order}, {self.splitting}"

    def settings(self, gains: tuple[float, ...]) -> list[Setting]:
        """Return the settings in the order of the points."""
        return [
            Setting(self.norm, residual, gain, self.depth, self.order, self.splitting)
            for residual in self.residuals
            for gain in gains
        ]


@dataclass(frozen=True)
class Trainings:
    """All trainings of one task. Axes: setting, seed, step. A run that is not finite is NaN from that step on."""

    task: str
    settings: tuple[Setting, ...]
    chance: Chance
    """What a guess reaches, by seed."""
    loss: Float[np.ndarray, "setting seed step"]
    """Cross-entropy of the batch before its update, nats."""
    accuracy: Float[np.ndarray, "setting seed step"]
    """Share of right classes in the batch."""
    gradient: Float[np.ndarray, "setting seed step"]
    """Global gradient norm before clipping."""
    embedding_gradient: Float[np.ndarray, "setting seed"]
    """Gradient norm of the embedding at step 0."""
    first_gradient: Float[np.ndarray, "setting seed"]
    """Gradient norm of the first layer at step 0."""
    last_gradient: Float[np.ndarray, "setting seed"]
    """Gradient norm of the last layer at step 0."""
    first_similarity: Float[np.ndarray, "setting seed"]
    """Token similarity after the last layer at step 0."""
    last_similarity: Float[np.ndarray, "setting seed"]
    """Token similarity after the last layer in the last steps."""
    first_nonfinite: Int[np.ndarray, "setting seed"]
    """First step, counted from 0, whose loss or gradient is not finite; -1 if none."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths of the settings."""
        return tuple(sorted({setting.depth for setting in self.settings}))

    @property
    def gains(self) -> tuple[float, ...]:
        """Gains of the settings."""
        return tuple(sorted({setting.gain for setting in self.settings}))

    @property
    def tail(self) -> int:
        """Number of last steps over which a final value is a mean."""
        return tail_of(self.loss.shape[-1])

    def at(self, name: str, setting: Setting) -> Float[np.ndarray, "seed ..."]:
        """Return a quantity of one setting by seed."""
        return getattr(self, name)[self.settings.index(setting)]

    def final(self, name: str, setting: Setting) -> Float[np.ndarray, " seed"]:
        """Return the mean over the last steps by seed; NaN where the run is not finite."""
        return self.at(name, setting)[:, -self.tail :].mean(-1)

    def largest_gradient(self, setting: Setting) -> Float[np.ndarray, " seed"]:
        """Return the largest finite gradient norm by seed; NaN if there is none."""
        return np.fmax.reduce(self.at("gradient", setting), axis=-1)

    def steps_to_half(self, setting: Setting) -> Float[np.ndarray, " seed"]:
        """Return the first step whose loss is below half of that of a guess, by seed; all steps if there is none."""
        is_below = self.at("loss", setting) < self.chance.loss[:, None] / 2
        steps = np.where(is_below.any(-1), is_below.argmax(-1), is_below.shape[-1])
        return steps.astype(float)


@dataclass(frozen=True)
class TrainingResult:
    """Trainings of both tasks."""

    seeds: tuple[int, ...]
    recall: Trainings
    listops: Trainings


def mesh_of_devices() -> Mesh | None:
    """Return a mesh of all devices of this machine; None for one device, and for several machines."""
    return None if jax.device_count() == 1 or jax.process_count() > 1 else sharding.make_mesh()


def tail_of(steps: int) -> int:
    """Return the number of last steps that count as the end: a tenth."""
    return max(1, steps // 10)


def recall_programs(depths: tuple[int, ...]) -> list[Program]:
    """Return all programs of the recall task."""
    programs = []
    for depth in depths:
        programs += [Program(norm, depth) for norm in NORMS]
        programs += [Program("pre", depth, (1.0,), order, "parallel") for order in (1, 2)]
    return programs


def measure(size: Training, seeds: tuple[int, ...], mesh: Mesh | None = None) -> TrainingResult:
    """Train all networks: one program for each task, norm, depth and order. A mesh splits settings and seeds."""
    recall = Recall(size.vocabulary, size.tokens, size.batch)
    listops = ShortListOps(size.listops_tokens, size.batch)
    rows = listops.generate(seeds, size.listops_steps)
    corners = [Program(norm, size.depths[0]) for norm in CORNER_NORMS]
    return TrainingResult(
        seeds,
        _train(
            *(size, seeds, recall, None, size.steps, recall_programs(size.depths), size.gains, mesh),
            chance=recall.chance(seeds),
        ),
        _train(
            *(size, seeds, listops, rows, size.listops_steps, corners, size.gains[:1], mesh),
            chance=rows.chance(tail_of(size.listops_steps) * size.batch),
        ),
    )


def _train(
    size: Training,
    seeds: tuple[int, ...],
    task: Task,
    rows: Any,
    steps: int,
    programs: list[Program],
    gains: tuple[float, ...],
    mesh: Mesh | None,
    *,
    chance: Chance,
) -> Trainings:
    """Train all programs of one task."""
    optimizer = train.Optimizer(
        size.learning_rate, schedule="constant", warmup=max(1, steps // 10), clip=size.clip
    )
    runs: list[GridRun] = []
    for program in programs:
        config = SimulatorConfig(
            layers=program.depth,
            width=size.width,
            heads=size.heads,
            ffn=size.ffn,
            norm=program.norm,
            order=program.order,
            splitting=program.splitting,
        )
        trainer = GridTrainer(config, task, optimizer, steps, mesh)
        points = make_points(program.residuals, gains, seeds, diffusivity=size.diffusivity, dt=size.dt)
        runs.append(trainer(points, rows, f"{task.name}, {program.title}"))

    def join(arrays: list[np.ndarray]) -> np.ndarray:
        """Return the runs of all programs as (setting, seed, ...)."""
        flat = np.concatenate(arrays)
        return flat.reshape(-1, len(seeds), *flat.shape[1:])

    records = {name: join([getattr(run.records, name) for run in runs]) for name in Records._fields}
    return Trainings(
        task.name,
        tuple(setting for program in programs for setting in program.settings(gains)),
        chance,
        *(records[name] for name in ("loss", "accuracy", "gradient")),
        *(records[name][..., 0] for name in ("embedding_gradient", "first_gradient", "last_gradient")),
        records["token_similarity"][..., 0],
        records["token_similarity"][..., -tail_of(steps) :].mean(-1),
        join([run.first_nonfinite for run in runs]),
    )


def make_points(
    residuals: tuple[float, ...],
    gains: tuple[float, ...],
    seeds: tuple[int, ...],
    *,
    diffusivity: float = 0.0,
    dt: float = 1.0,
) -> TrainingPoints:
    """Return every combination of residual, gain and seed, in the order of a nested loop."""
    residual, gain, stream = combinations(residuals, gains, tuple(range(len(seeds))))
    ones = np.ones(len(gain), np.float32)
    coefficients = Coefficients(
        *(residual.astype(np.float32), ones, ones, diffusivity * ones, 0 * ones, dt * ones)
    )
    return TrainingPoints(
        np.asarray(seeds, np.int32)[stream], stream.astype(np.int32), gain.astype(np.float32), coefficients
    )
