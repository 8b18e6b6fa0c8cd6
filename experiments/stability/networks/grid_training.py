"""All settings and seeds that share shapes and switches train at once, as one vmapped program.

The points of the grid are independent, so that a mesh splits them without communication. A run whose loss or gradient
is not finite ends there: its parameters stay as they were, its later records are NaN, and the other runs go on.

    G points of the grid, K steps
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from experiments.run.progress import Clock, TrainingProgress
from experiments.stability.networks.sequence_classifier import Parameters, classify, init
from experiments.stability.networks.sequence_tasks import Batch, Task
from pdeformer import diagnostics, train
from pdeformer.simulator import Coefficients, SimulatorConfig

MAX_CHUNK = 25  # largest number of steps between two lines of progress
SPLIT, COPY = PartitionSpec("data"), PartitionSpec()


class TrainingPoints(NamedTuple):
    """Settings and seeds; arrays of one point, or of G points."""

    seed: Int[Array | np.ndarray, "*g"]
    """Seed of the weights and of the batches: settings of one seed share both."""
    stream: Int[Array | np.ndarray, "*g"]
    """Position of the seed among the seeds of the rows."""
    gain: Float[Array | np.ndarray, "*g"]
    """Factor of all initial matrices."""
    coefficients: Coefficients
    """Numbers of the equation."""


class Records(NamedTuple):
    """Numbers of every step, before its update; NaN from the first step on that is not finite."""

    loss: Any
    """Cross-entropy of the batch, nats."""
    accuracy: Any
    """Share of right classes in the batch."""
    token_similarity: Any
    """Mean cosine of two tokens of a row after the last layer."""
    gradient: Any
    """Global gradient norm before clipping."""
    embedding_gradient: Any
    """Gradient norm of the embedding."""
    first_gradient: Any
    """Gradient norm of the first layer."""
    last_gradient: Any
    """Gradient norm of the last layer."""


class RunState(NamedTuple):
    """The state of one run, or of G runs."""

    parameters: Parameters
    optimizer: Any
    first_nonfinite: Any
    """First step, counted from 0, whose loss or gradient norm is not finite; -1 if none."""


class GridRun(NamedTuple):
    """G finished trainings."""

    records: Records
    """Records `(G, K)`."""
    first_nonfinite: Int[np.ndarray, " g"]
    """First step, counted from 0, whose loss or gradient norm is not finite; -1 if none."""


class GridTrainer:
    """`trainer(points, rows, title)` -> `GridRun`: AdamW for all points of a grid, compiled once for each shape.

    A norm counts as finite if float32 has its square, since clipping divides by it: up to about 1e19.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        task: Task,
        optimizer: train.Optimizer,
        steps: int,
        mesh: Mesh | None = None,
    ) -> None:
        """Store the sizes. With a mesh, its axis "data" splits the points. The first call compiles."""
        self._config, self._task, self._steps, self._mesh = config, task, steps, mesh
        self._optimizer = train.make_optimizer(optimizer, steps)
        self._chunk_size = max(n for n in range(1, MAX_CHUNK + 1) if steps % n == 0)
        self._first = self._compile(lambda points: jax.vmap(self.first_state)(points), "points")
        self._run_chunk = self._compile(self._chunk, "runs", "points", "rows", "steps", donate_argnums=0)

    @property
    def program_count(self) -> int:
        """Number of compiled versions of the training program."""
        return self._run_chunk._cache_size()

    def __call__(self, points: TrainingPoints, rows: Any, title: str) -> GridRun:
        """Train every point from its initial state, and show the median loss on the way.

        Args:
            points: settings and seeds, with a leading axis of G points; G need not be a multiple of the devices.
            rows: the rows of a task that has some, or None.
            title: text of the progress.
        """
        count = len(points.seed)
        shards = 1 if self._mesh is None else self._mesh.shape["data"]
        index = np.minimum(np.arange(count + -count % shards), count - 1)
        points = self._place(jax.tree.map(lambda x: np.asarray(x)[index], points), SPLIT)
        rows = self._place(rows, COPY)
        runs, chunks, clock = self._first(points), [], Clock()
        tokens = count * self._task.batch * self._task.tokens
        with TrainingProgress(f"{title}, {count} trainings", self._steps, 0, tokens) as progress:
            clock.start()
            for first in range(0, self._steps, self._chunk_size):
                last = first + self._chunk_size
                runs, records = self._run_chunk(runs, points, rows, jnp.arange(first, last))
                chunks.append(jax.device_get(records))
                progress.step(last, *map(_median, chunks[-1][:2]), clock.read())
        records = Records(*(np.concatenate(x, axis=1)[:count] for x in zip(*chunks, strict=True)))
        return GridRun(records, np.asarray(jax.device_get(runs.first_nonfinite))[:count])

    def first_state(self, point: TrainingPoints) -> RunState:
        """Return the initial state of one run."""
        task = self._task
        key, _ = _keys(point)
        parameters = init(self._config, task.vocabulary, task.classes, key, gain=point.gain)
        return RunState(parameters, self._optimizer.init(parameters), jnp.int32(-1))

    def update(
        self, run: RunState, point: TrainingPoints, rows: Any, step: Array
    ) -> tuple[RunState, Records]:
        """Make one step of one run."""
        batch = self._task.draw(rows, point.stream, _keys(point)[1], step)
        gradient = jax.value_and_grad(_loss, has_aux=True)
        (loss, (accuracy, similarity)), grads = gradient(
            run.parameters, batch, self._config, point.coefficients
        )
        updates, optimizer = self._optimizer.update(grads, run.optimizer, run.parameters)
        layers = grads.layers.params
        records = Records(
            loss,
            accuracy,
            similarity,
            optax.tree.norm(grads),
            optax.tree.norm(grads.embedding),
            *(optax.tree.norm(jax.tree.map(lambda x, i=i: x[i], layers)) for i in (0, -1)),
        )
        is_finite = jnp.isfinite(loss) & jnp.isfinite(records.gradient)
        is_running = (run.first_nonfinite < 0) & is_finite
        first = jnp.where(is_running | (run.first_nonfinite >= 0), run.first_nonfinite, step)
        after = (optax.apply_updates(run.parameters, updates), optimizer)
        before = (run.parameters, run.optimizer)
        parameters, optimizer = jax.tree.map(lambda x, y: jnp.where(is_running, x, y), after, before)
        records = Records(*(jnp.where(is_running, x, jnp.nan) for x in records))
        return RunState(parameters, optimizer, first), records

    def _chunk(
        self, runs: RunState, points: TrainingPoints, rows: Any, steps: Array
    ) -> tuple[RunState, Records]:
        """Make several steps of all runs."""

        def train_one(run: RunState, point: TrainingPoints) -> tuple[RunState, Records]:
            return jax.lax.scan(lambda run, step: self.update(run, point, rows, step), run, steps)

        return jax.vmap(train_one)(runs, points)

    def _compile(self, function: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        """Return the compiled function, whose arguments with points are split over the mesh."""
        if self._mesh is None:
            return jax.jit(function, **options)
        specs = tuple(SPLIT if name in ("runs", "points") else COPY for name in arguments)
        function = jax.shard_map(function, mesh=self._mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)
        return jax.jit(function, **options)

    def _place(self, arrays: Any, spec: PartitionSpec) -> Any:
        """Copy arrays to the devices."""
        return jax.device_put(arrays, None if self._mesh is None else NamedSharding(self._mesh, spec))


def _keys(point: TrainingPoints) -> tuple[Array, Array]:
    """Return the keys of weights and batches."""
    weights, batches = jax.random.split(jax.random.key(point.seed))
    return weights, batches


def _loss(
    parameters: Parameters, batch: Batch, config: SimulatorConfig, coefficients: Coefficients
) -> tuple[Array, tuple[Array, Array]]:
    """Return the mean cross-entropy in nats, and accuracy and token similarity."""
    logits, u = classify(parameters, batch.ids, config, coefficients, batch.segment_ids)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    accuracy = jnp.mean(jnp.argmax(logits, -1) == batch.labels)
    similarity = jnp.mean(diagnostics.token_similarity(jax.lax.stop_gradient(u), batch.segment_ids))
    return jnp.mean(nats), (accuracy, similarity)


def _median(records: Float[np.ndarray, "g k"]) -> float:
    """Return the median over the points of their last finite records; NaN if there is none."""
    last = records[:, -1]
    return float(np.median(last[np.isfinite(last)])) if np.any(np.isfinite(last)) else float("nan")
