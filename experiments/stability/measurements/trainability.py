"""Claim: without residual connection or LayerNorm a Transformer does not train. Measured by training.

Every combination of norm, residual ρ ∈ {1, 0}, gain and depth is trained on recall of the first token, and the corners
also on ListOps. Second order in time is trained with pre-LN and the residual connection; it needs parallel splitting,
so first order with parallel splitting is trained beside it. All settings of a seed share weights and batches.

    G points of a program, K steps
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from experiments.data import listops
from experiments.stability.config import Training
from experiments.stability.measurements.initialization import RESIDUALS
from experiments.stability.measurements.random_networks import NORMS
from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.networks.grid_training import (
    GridTrainer,
    Records,
    TrainingPoints,
)
from experiments.stability.networks.sequence_classifier import Parameters, init
from experiments.stability.networks.sequence_tasks import (
    Chance,
    Rows,
    join,
    listops_chance,
    listops_rows,
    recall_chance,
    recall_rows,
)
from pdeformer import sharding, train
from pdeformer.simulator import Coefficients, SimulatorConfig

CORNER_NORMS = ("none", "pre")
RECALL, LISTOPS = "recall", "ListOps"


class Program(NamedTuple):
    """What is fixed when a program is compiled; its settings train at once."""

    norm: str
    depth: int
    splitting: str


class Setting(NamedTuple):
    """One network, which is trained with every seed."""

    norm: str
    residual: float
    gain: float
    depth: int
    order: int = 1
    splitting: str = "sequential"
    task: str = RECALL

    @property
    def program(self) -> Program:
        """The program that trains it."""
        return Program(self.norm, self.depth, self.splitting)

    def coefficients(self, size: Training) -> Coefficients:
        """Return the numbers of the equation.

        With parallel splitting a program computes order 2, v⁺ = (1 - γ dt) v + dt F and u⁺ = u + dt v⁺. Order 1 is
        γ = 1/dt and the force F/dt, which gives u⁺ = u + dt F.
        """
        first = self.order == 1 and self.splitting == "parallel"
        force, friction = (1 / size.dt, 1 / size.dt) if first else (1.0, 0.0)
        return Coefficients(self.residual, force, force, force * size.diffusivity, friction, size.dt)


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

    def setting(self, *switches, **options) -> Setting:
        """Return a setting of this task."""
        return Setting(*switches, **options, task=self.task)

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


def settings_of(size: Training) -> list[Setting]:
    """Return all settings: all combinations on recall; at the smallest gain both orders, and corners on ListOps."""
    recall = [
        Setting(norm, residual, gain, depth)
        for depth in size.depths
        for norm in NORMS
        for residual in RESIDUALS
        for gain in size.gains
    ]
    orders = [
        Setting("pre", 1.0, gain, depth, order, "parallel")
        for depth in size.depths
        for order in (1, 2)
        for gain in size.gains[:1]
    ]
    corners = [
        Setting(norm, residual, size.gains[0], size.depths[0], task=LISTOPS)
        for norm in CORNER_NORMS
        for residual in RESIDUALS
    ]
    return recall + orders + corners


def measure(size: Training, seeds: tuple[int, ...], mesh: Mesh | None = None) -> TrainingResult:
    """Train all networks: one program for each norm, depth and splitting. A mesh splits settings and seeds."""
    count = size.steps * size.batch
    rows = listops_rows(seeds, count, size.tokens)
    chances = {
        RECALL: recall_chance(seeds, size.vocabulary),
        LISTOPS: listops_chance(rows, tail_of(size.steps) * size.batch),
    }
    rows = join(recall_rows(seeds, count, size.vocabulary, size.tokens), rows)
    parameters, settings = first_parameters(size, seeds), settings_of(size)
    programs: dict[Program, list[Setting]] = {}
    for setting in settings:
        programs.setdefault(setting.program, []).append(setting)
    runs: dict[Setting, SettingRun] = {}
    for program, members in programs.items():
        runs |= _train(program, members, size, len(seeds), parameters, rows, mesh)
    return TrainingResult(
        seeds,
        *(
            _join(chance, {setting: runs[setting] for setting in settings if setting.task == task})
            for task, chance in chances.items()
        ),
    )


def first_parameters(size: Training, seeds: tuple[int, ...]) -> Parameters:
    """Draw the parameters of the deepest network for every gain and seed, (gain · seed, ...).

    The first layers of a deep network are those of a shallow one, and no switch changes the draw.
    """
    config = _config(size, max(size.depths))
    vocabulary, classes = max(size.vocabulary, len(listops.VOCABULARY)), max(size.vocabulary, listops.CLASSES)

    draw = jax.jit(partial(init, config, vocabulary, classes), compiler_options=fast_compilation())
    draws = [jax.device_get(draw(jax.random.key(seed), gain=gain)) for gain in size.gains for seed in seeds]
    return jax.tree.map(lambda *x: np.stack(x), *draws)


def make_points(
    settings: list[Setting], size: Training, seed_count: int, parameters: Parameters
) -> TrainingPoints:
    """Return one point for every setting and seed, the seeds of a setting side by side."""
    depth = settings[0].depth
    chosen, streams, coefficients = [], [], []
    for setting in settings:
        for seed in range(seed_count):
            chosen.append(size.gains.index(setting.gain) * seed_count + seed)
            streams.append(seed + seed_count * (setting.task == LISTOPS))
            coefficients.append(setting.coefficients(size))
    own = jax.tree.map(lambda x: x[np.asarray(chosen)], parameters)
    first = jax.tree.map(lambda x: x[:, :depth], own.layers)
    columns: Any = (np.asarray(column, np.float32) for column in zip(*coefficients, strict=True))
    return TrainingPoints(own._replace(layers=first), np.asarray(streams, np.int32), Coefficients(*columns))


def _config(size: Training, depth: int, **switches) -> SimulatorConfig:
    return SimulatorConfig(layers=depth, width=size.width, heads=size.heads, ffn=size.ffn, **switches)


def make_trainer(program: Program, size: Training, mesh: Mesh | None = None) -> GridTrainer:
    """Return the trainer of a program."""
    order = 2 if program.splitting == "parallel" else 1
    config = _config(size, program.depth, norm=program.norm, order=order, splitting=program.splitting)
    warmup = max(1, size.steps // 10)
    optimizer = train.Optimizer(size.learning_rate, schedule="constant", warmup=warmup, clip=size.clip)
    return GridTrainer(config, optimizer, batch=size.batch, steps=size.steps, mesh=mesh)


class SettingRun(NamedTuple):
    """The trainings of one setting, `(seed, step)` and `(seed,)`."""

    records: Records
    first_nonfinite: np.ndarray


def _train(
    program: Program,
    settings: list[Setting],
    size: Training,
    seed_count: int,
    parameters: Parameters,
    rows: Rows,
    mesh: Mesh | None,
) -> dict[Setting, SettingRun]:
    """Train all settings of a program."""
    points = make_points(settings, size, seed_count, parameters)
    title = f"norm {program.norm}, {program.depth} layers, {program.splitting}"
    run = make_trainer(program, size, mesh)(points, rows, title)

    def of(index: int) -> SettingRun:
        part = slice(index * seed_count, (index + 1) * seed_count)
        return SettingRun(Records(*(x[part] for x in run.records)), run.first_nonfinite[part])

    return {setting: of(index) for index, setting in enumerate(settings)}


def _join(chance: Chance, runs: dict[Setting, SettingRun]) -> Trainings:
    """Return the trainings of one task as arrays."""
    settings = tuple(runs)
    curves = Records(*(np.stack(x) for x in zip(*(run.records for run in runs.values()), strict=True)))
    tail = tail_of(curves.loss.shape[-1])
    return Trainings(
        settings[0].task,
        settings,
        chance,
        *(curves.loss, curves.accuracy, curves.gradient),
        *(curves.embedding_gradient[..., 0], curves.first_gradient[..., 0], curves.last_gradient[..., 0]),
        curves.token_similarity[..., 0],
        curves.token_similarity[..., -tail:].mean(-1),
        np.stack([run.first_nonfinite for run in runs.values()]),
    )
