"""All settings and seeds that share shapes and switches train at once, as one vmapped program.

The points of the grid are independent, so that a mesh splits them without communication. A run whose loss or gradient
is not finite ends there: its parameters stay as they were, its later records are NaN, and the other runs go on.

    G points of the grid, K steps, L layers, P parameters of a layer
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from experiments.run.progress import Clock, TrainingProgress
from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.networks.sequence_classifier import Parameters, last_state, read_out
from experiments.stability.networks.sequence_tasks import Batch, Rows, batch_of
from pdeformer import diagnostics, train
from pdeformer.simulator import Coefficients, SimulatorConfig, SimulatorWeights

MAX_CHUNK = 25  # largest number of steps between two lines of progress
SPLIT, COPY = PartitionSpec("data"), PartitionSpec()


class TrainingPoints(NamedTuple):
    """What the settings differ in; arrays of one point, or of G points."""

    parameters: Parameters
    """Initial parameters."""
    stream: Int[Array | np.ndarray, "*g"]
    """Index of the rows: settings with the same one have the same batches."""
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


class Packed(NamedTuple):
    """Parameters as three arrays."""

    embedding: Any
    """Token embeddings."""
    layers: Any
    """Weights of all layers, (L, P)."""
    head: Any
    """Linear map to the logits."""


class RunState(NamedTuple):
    """The state of one run, or of G runs."""

    parameters: Packed
    """Parameters."""
    optimizer: Any
    """State of the optimizer."""
    first_nonfinite: Any
    """First step, counted from 0, whose loss or gradient norm is not finite; -1 if none."""


class GridRun(NamedTuple):
    """G finished trainings."""

    records: Records
    """Records `(G, K)`."""
    first_nonfinite: Int[np.ndarray, " g"]
    """First step, counted from 0, whose loss or gradient norm is not finite; -1 if none."""


def pack(parameters: Parameters) -> tuple[Packed, Callable[[Packed], Parameters]]:
    """Return the parameters with all weights of a layer as one row, and the inverse.

    The optimizer then has three arrays instead of eighteen, which takes half of the time of compilation.
    """
    weights = parameters.layers
    unravel = ravel_pytree(jax.tree.map(lambda x: x[0], weights.params))[1]
    matrix = jax.vmap(lambda layer: ravel_pytree(layer)[0])(weights.params)

    def unpack(packed: Packed) -> Parameters:
        layers = SimulatorWeights(jax.vmap(unravel)(packed.layers), weights.graphdef)
        return Parameters(packed.embedding, layers, packed.head)

    return Packed(parameters.embedding, matrix, parameters.head), unpack


class GridTrainer:
    """`trainer(points, rows, title)` -> `GridRun`: AdamW for all points of a grid, compiled once for each shape.

    A gradient norm counts as finite if float32 has its square, up to about 1e19, since clipping divides by it.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        optimizer: train.Optimizer,
        *,
        batch: int,
        steps: int,
        mesh: Mesh | None = None,
        chunk: int | None = None,
    ) -> None:
        """Store the sizes. The first call compiles.

        Args:
            config: the switches of the network.
            optimizer: configuration of AdamW.
            batch: rows of a step.
            steps: number of steps.
            mesh: devices, whose axis "data" splits the points; None is one device.
            chunk: number of points that a device computes at the same time; None is all.
        """
        self._config, self._batch, self._steps = config, batch, steps
        self._mesh, self._chunk = mesh, chunk
        self._optimizer = train.make_optimizer(optimizer, steps)
        self._stride = max(n for n in range(1, MAX_CHUNK + 1) if steps % n == 0)
        self._start = self._compile(self._start_all, "points")
        self._advance = self._compile(self._advance_all, "runs", "points", "rows", "steps", donate_argnums=0)

    @property
    def program_count(self) -> int:
        """Number of compiled versions of the training program."""
        return self._advance._cache_size()

    def __call__(self, points: TrainingPoints, rows: Rows, title: str) -> GridRun:
        """Train every point, and show the median loss on the way.

        Args:
            points: settings and seeds, with a leading axis of G points; G need not be a multiple of the devices.
            rows: rows for all steps.
            title: text of the progress.
        """
        count = len(points.stream)
        shards = 1 if self._mesh is None else self._mesh.shape["data"]
        index = np.minimum(np.arange(count + -count % shards), count - 1)
        points = self._place(jax.tree.map(lambda x: np.asarray(x)[index], points), SPLIT)
        rows = self._place(rows, COPY)
        runs, records, clock = self._start(points), [], Clock()
        tokens = count * self._batch * rows.ids.shape[-1]
        with TrainingProgress(f"{title}, {count} trainings", self._steps, 0, tokens) as progress:
            clock.start()
            for first in range(0, self._steps, self._stride):
                last = first + self._stride
                runs, metrics = self._advance(runs, points, rows, np.arange(first, last))
                records.append(jax.device_get(metrics))
                progress.step(last, _median(records[-1].loss), _median(records[-1].accuracy), clock.read())
        curves = Records(*(np.concatenate(x, axis=1)[:count] for x in zip(*records, strict=True)))
        return GridRun(curves, np.asarray(jax.device_get(runs.first_nonfinite))[:count])

    def start(self, point: TrainingPoints) -> RunState:
        """Return the initial state of one run."""
        packed, _ = pack(point.parameters)
        return RunState(packed, self._optimizer.init(_tree(packed)), jnp.int32(-1))

    def update(
        self, run: RunState, point: TrainingPoints, rows: Rows, step: Array
    ) -> tuple[RunState, Records]:
        """Make one step of one run."""
        _, unpack = pack(point.parameters)  # only for the shapes
        batch = batch_of(rows, jnp.asarray(point.stream), step, self._batch)

        def loss_of(packed: Packed) -> tuple[Array, tuple[Array, Array]]:
            return _loss(unpack(packed), batch, self._config, point.coefficients)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(run.parameters)
        updates, optimizer = self._optimizer.update(grads, run.optimizer, _tree(run.parameters))
        groups = (grads, grads.embedding, grads.layers[0], grads.layers[-1])
        records = Records(loss, *metrics, *map(optax.tree.norm, groups))
        is_finite = jnp.isfinite(loss) & jnp.isfinite(records.gradient)
        is_running = (run.first_nonfinite < 0) & is_finite
        first = jnp.where(is_running | (run.first_nonfinite >= 0), run.first_nonfinite, step)
        after = (optax.apply_updates(_tree(run.parameters), updates), optimizer)
        before = (run.parameters, run.optimizer)
        parameters, optimizer = jax.tree.map(lambda x, y: jnp.where(is_running, x, y), after, before)
        records = Records(*(jnp.where(is_running, x, jnp.nan) for x in records))
        return RunState(parameters, optimizer, first), records

    def _start_all(self, points: TrainingPoints) -> RunState:
        return jax.vmap(self.start)(points)

    def _advance_all(
        self, runs: RunState, points: TrainingPoints, rows: Rows, steps: Array
    ) -> tuple[RunState, Records]:
        """Make several steps of all runs of a device."""

        def advance(run: RunState, point: TrainingPoints) -> tuple[RunState, Records]:
            return jax.lax.scan(lambda run, step: self.update(run, point, rows, step), run, steps)

        if self._chunk is None:
            return jax.vmap(advance)(runs, points)
        return jax.lax.map(lambda pair: advance(*pair), (runs, points), batch_size=self._chunk)

    def _compile(self, function: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        """Return the compiled function, whose arguments with points are split over the mesh."""
        if self._mesh is None:
            return jax.jit(function, **options, compiler_options=fast_compilation())
        specs = tuple(SPLIT if name in ("runs", "points") else COPY for name in arguments)
        function = jax.shard_map(function, mesh=self._mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)
        return jax.jit(function, **options, compiler_options=fast_compilation())

    def _place(self, arrays: Any, spec: PartitionSpec) -> Any:
        """Copy arrays to the devices."""
        return jax.device_put(arrays, None if self._mesh is None else NamedSharding(self._mesh, spec))


def _loss(
    parameters: Parameters, batch: Batch, config: SimulatorConfig, coefficients: Coefficients
) -> tuple[Array, tuple[Array, Array]]:
    """Return the mean cross-entropy in nats, and accuracy and token similarity."""
    u = last_state(parameters, batch.ids, config, coefficients, batch.segment_ids)
    logits = read_out(parameters, u, config, batch.segment_ids)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    accuracy = jnp.mean(jnp.argmax(logits, -1) == batch.labels)
    similarity = diagnostics.token_similarity(jax.lax.stop_gradient(u), batch.segment_ids)
    return jnp.mean(nats), (accuracy, jnp.mean(similarity))


def _tree(packed: Packed) -> Any:
    """Return the same as a tree of any type, as optax declares its arguments."""
    return packed


def _median(records: Float[np.ndarray, "g k"]) -> float:
    """Return the median over the points of their last finite records; NaN if there is none."""
    last = records[:, -1]
    return float(np.median(last[np.isfinite(last)])) if np.any(np.isfinite(last)) else float("nan")
