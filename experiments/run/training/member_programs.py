"""Compiled functions of many trainings that share their shapes: they run in one program, and each as if it were alone.

The members of a group are V variants with each of S seeds. Variants differ in data, their settings; all variants of a
seed get the same batch. A member whose loss or gradient is not finite stops there: its weights stay those of the step
before, and the others go on.

    S seeds, V variants, K steps of a call, B rows of a batch
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from experiments.run.training.train_loop import training_key
from pdeformer import train
from pdeformer.train.step import sums_and_hits


class Place(NamedTuple):
    """Where an argument or a result of a compiled function lies."""

    computed: PartitionSpec
    """Axes whose parts are computed on different devices of "data"."""
    stored: PartitionSpec
    """Axes that are split in memory between two calls."""


MEMBERS = PartitionSpec(None, "data")
"""Axes (S, V) of members: the variants are split over the devices."""
COPY = Place(PartitionSpec(), PartitionSpec())
VARIANTS = Place(PartitionSpec("data"), PartitionSpec("data"))
NUMBERS = Place(MEMBERS, PartitionSpec())
"""A few numbers of each member, of which every device stores all, so that every host can read them."""


class MembersState(NamedTuple):
    """Everything that a step of a group changes, of (S, V) members."""

    step: Int[Array, ""]
    """Number of steps so far."""
    states: train.TrainState
    """Parameters and moments."""
    stopped: Int[Array, "s v"]
    """The step, from 1, whose loss or gradient was not finite; 0 while the member runs."""
    best: Any
    """Parameters of the best validation accuracy."""
    best_accuracy: Float[Array, "s v"]
    """The best validation accuracy, -1 before the first evaluation."""
    best_step: Int[Array, "s v"]
    """Its step."""


class MemberSums(NamedTuple):
    """Sums over a batch, of (S, V) members."""

    loss: Float[Array, "s v"]
    """Sum of losses in nats."""
    weight: Float[Array, "s v"]
    """Sum of weights."""
    hits: Float[Array, "s v b"]
    """1 for an example that is right, or the share of its labels that are."""


class MemberPrograms:
    """Start, steps and evaluation of S · V members, each compiled once.

    Args:
        build: makes the model that all variants share from `nnx.Rngs`.
        loss_of: settings of one variant -> its loss function.
        merge: (parameters of a seed, initial part of a variant) -> initial parameters of the member.
        optimizer: configuration of AdamW.
        steps: number of updates of a training.
        mesh: devices, whose axis "data" splits the variants, and "model" the weights and the rows of each member.
        concurrency: members that a device computes at the same time; the others follow one after another.
    """

    def __init__(
        self,
        build: Callable[[nnx.Rngs], Any],
        loss_of: Callable[[Any], train.LossFunction],
        merge: Callable[[Any, Any], Any],
        optimizer: train.Optimizer,
        steps: int,
        mesh: Mesh,
        concurrency: int,
    ) -> None:
        """Make the functions. The first call of each compiles."""
        self._build, self._loss_of, self._merge = build, loss_of, merge
        self._optimizer, self._steps, self._mesh, self._concurrency = optimizer, steps, mesh, concurrency
        self.graphdef, _, alone = train.make_init(build, optimizer, steps, mesh)
        weights: Any = jax.tree.map(lambda own: Place(MEMBERS, PartitionSpec(*MEMBERS, *own.spec)), alone)
        numbers: Any = NUMBERS
        state = MembersState(COPY, weights, numbers, weights.params, numbers, numbers)  # type: ignore[arg-type]  places of arrays
        self.start = self._compile(self._start, (COPY, VARIANTS, VARIANTS), state)
        self.advance = self._compile(
            self._advance, (state, VARIANTS, COPY, COPY), (state, NUMBERS), donate_argnums=0
        )
        self.evaluate = self._compile(self._evaluate, (weights.params, VARIANTS, COPY), NUMBERS)
        self.keep_best = self._compile(self._keep_best, (state, NUMBERS, NUMBERS), state, donate_argnums=0)

    @property
    def program_count(self) -> int:
        """Number of compiled versions of the steps."""
        return self.advance._cache_size()

    def place(self, arrays: Any, *, split: bool) -> Any:
        """Copy arrays, which all hosts have, to the devices; with `split` their first axis is that of the variants."""
        sharding = NamedSharding(self._mesh, (VARIANTS if split else COPY).stored)
        return jax.tree.map(lambda x: put(np.asarray(x), sharding), arrays)

    def _start(self, seeds: Int[Array, " s"], settings: Any, parts: Any) -> MembersState:
        """Return the initial state: equal weights for equal seeds, except for the parts of the variants."""
        transformation = train.make_optimizer(self._optimizer, self._steps)

        def member(seed: Array, _: Any, part: Any) -> train.TrainState:
            model = self._build(nnx.Rngs(jax.random.key(seed)))
            params = self._merge(nnx.to_pure_dict(nnx.state(model, nnx.Param)), part)
            return train.TrainState(jnp.zeros((), jnp.int32), params, transformation.init(params))

        states = jax.vmap(jax.vmap(member, (None, 0, 0)), (0, None, None))(seeds, settings, parts)
        zero = jnp.zeros(states.step.shape, jnp.int32)
        accuracy = jnp.full(zero.shape, -1.0)
        best = jax.tree.map(jnp.copy, states.params)  # buffers of its own, since both are donated
        return MembersState(jnp.int32(0), states, zero, best, accuracy, jnp.zeros_like(zero))

    def _advance(
        self, state: MembersState, settings: Any, batches: Any, seeds: Int[Array, " s"]
    ) -> tuple[MembersState, train.Metrics]:
        """Make K steps of all members; `batches` are (K, S, ...), the metrics (S, V, K)."""
        count = jax.tree.leaves(batches)[0].shape[0]

        def member(carry: Any, setting: Any, batch: Any, seed: Array) -> tuple[Any, train.Metrics]:
            update = train.make_update(self.graphdef, self._optimizer, self._steps, self._loss_of(setting))
            key = training_key(seed)

            def step(carry: Any, xs: Any) -> tuple[Any, train.Metrics]:
                (before, stopped), (number, batch) = carry, xs
                after, metrics = update(before, batch, key)
                is_running = stopped == 0
                after = jax.tree.map(lambda x, y: jnp.where(is_running, x, y), after, before)
                stopped = jnp.where(is_running & ~metrics.finite, number, stopped)
                return (after, stopped), metrics

            numbers = state.step + 1 + jnp.arange(count)
            return jax.lax.scan(step, carry, (numbers, batch))

        by_seed = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batches)
        (states, stopped), metrics = self._map_members(
            member, (state.states, state.stopped), settings, by_seed, seeds
        )
        return state._replace(step=state.step + count, states=states, stopped=stopped), metrics

    def _evaluate(self, params: Any, settings: Any, batch: dict[str, Array]) -> MemberSums:
        """Return the sums of all members over one batch (B, ...), without dropout."""

        def member(params: Any, setting: Any, batch: Any, _: Any) -> MemberSums:
            loss, model = self._loss_of(setting), functools.partial(nnx.merge, self.graphdef)
            sums, hits = sums_and_hits(lambda batch: loss(model(params), batch, None), batch)
            return MemberSums(sums.loss, sums.weight, hits)

        seeds = len(jax.tree.leaves(params)[0])
        # one batch for all seeds: a copy of S times a few bytes
        batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (seeds, *x.shape)), batch)
        return self._map_members(member, params, settings, batches, jnp.zeros(seeds, jnp.int32))

    def _keep_best(
        self, state: MembersState, accuracy: Float[Array, "s v"], is_finite: Bool[Array, "s v"]
    ) -> MembersState:
        """Keep the parameters of the members whose validation accuracy is not below their best one so far.

        A member whose validation loss is not finite stops here. One that has stopped, or whose accuracy is NaN, keeps
        what it has.
        """
        stopped = jnp.where((state.stopped == 0) & ~is_finite, state.step, state.stopped)
        is_better = (accuracy >= state.best_accuracy) & (stopped == 0)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(is_better.reshape(is_better.shape + (1,) * (new.ndim - 2)), new, old)

        return state._replace(
            stopped=stopped,
            best=jax.tree.map(choose, state.states.params, state.best),
            best_accuracy=choose(accuracy, state.best_accuracy),
            best_step=choose(jnp.broadcast_to(state.step, is_better.shape), state.best_step),
        )

    def _map_members(
        self, member: Callable[..., Any], carry: Any, settings: Any, batches: Any, seeds: Any
    ) -> Any:
        """Apply a function to all members: seeds outside, variants inside, so that a batch is not copied."""
        variants = len(jax.tree.leaves(settings)[0])
        inner = largest_divisor(variants, self._concurrency)
        outer = largest_divisor(len(seeds), self._concurrency // variants) if inner == variants else 1

        def seed_of_members(xs: Any) -> Any:
            carry, batch, seed = xs
            return _map(lambda pair: member(*pair, batch, seed), (carry, settings), variants, inner)

        return _map(seed_of_members, (carry, batches, seeds), len(seeds), outer)

    def _compile(self, function: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
        """Return the compiled function. Each part of "data" has its own variants; "model" is left to the compiler.

        Args:
            function: what is computed for the variants of a part.
            inputs: places of its arguments.
            outputs: places of its results.
            options: those of `jax.jit`.
        """
        if self._mesh.size == 1:
            return jax.jit(function, **options)

        def take(places: Any, take_one: Callable[[Place], Any]) -> Any:
            return jax.tree.map(take_one, places, is_leaf=lambda x: isinstance(x, Place))

        mapped = jax.shard_map(
            function,
            mesh=self._mesh,
            in_specs=take(inputs, lambda place: place.computed),
            out_specs=take(outputs, lambda place: place.computed),
            axis_names=set(self._mesh.axis_names) if self._mesh.shape["model"] == 1 else {"data"},
            check_vma=False,
        )
        shardings = functools.partial(take, take_one=lambda place: NamedSharding(self._mesh, place.stored))
        return jax.jit(mapped, in_shardings=shardings(inputs), out_shardings=shardings(outputs), **options)


def _map(function: Callable[[Any], Any], xs: Any, count: int, concurrency: int) -> Any:
    """Apply a function over the leading axis of `count`, so many of it at the same time."""
    if concurrency == count:
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=None if concurrency == 1 else concurrency)


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of a number that is at most `limit`, at least 1."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(limit, 1))


def default_concurrency(members: int, platform: str) -> int:
    """Return how many members a device computes at the same time: all, but one on a CPU.

    On two CPU cores seven members of `experiments.placement` took 2.7 times as long side by side as one after another.
    """
    return 1 if platform == "cpu" else members


def put(x: np.ndarray, sharding: Any) -> jax.Array:
    """Copy an array that every host has to the devices of all hosts."""
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def gather(tree: Any) -> Any:
    """Return arrays whose parts lie on the devices of several hosts as NumPy arrays. All hosts call this together."""

    def whole(x: jax.Array) -> np.ndarray:
        return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(whole, tree)


def pad_variants(tree: Any, count: int) -> Any:
    """Repeat the last entry of the leading axis until it has `count` entries."""

    def pad(x: Any) -> np.ndarray:
        x = np.asarray(x)
        return x[np.minimum(np.arange(count), len(x) - 1)]

    return jax.tree.map(pad, tree)
