"""Training on a mesh: the state, the loss, one compiled step, and evaluation.

The state is three things and nothing else; what is not returned from `jax.jit` does not survive.
A loss function `(model, batch, key) -> Sums` returns sums over examples, so that micro-batches, padded
evaluation batches and hosts add up exactly; key None means deterministic (evaluation).

Legend: B batch, T tokens.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Num

from pdeformer import sharding
from pdeformer.train.optimizer import Optimizer, make_optimizer, schedule


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Any
    """Updates made so far, int32 scalar."""
    params: Any
    """The values of the model's `nnx.Param`s, as nested dictionaries."""
    opt_state: Any
    """The state of the optax transformation."""


class Sums(NamedTuple):
    """What a loss function returns: float32 sums over the examples (or tokens) of a batch."""

    loss: Any
    """Sum of weight times loss in nats."""
    weight: Any
    """Sum of weights."""
    correct: Any
    """Sum of the weights of what was answered rightly."""


class Metrics(NamedTuple):
    """What a step reports, each a scalar; loss, accuracy and gradient are of the state before the update."""

    loss: Any
    """Mean loss of the batch in nats."""
    accuracy: Any
    """Share of the batch answered rightly."""
    gradient_norm: Any
    """Global L2 norm of the gradient before clipping."""
    learning_rate: Any
    """The rate of this update."""
    finite: Any
    """False if loss or gradient is not finite: then the state came back unchanged."""


class Evaluation(NamedTuple):
    """Means over a whole split."""

    loss: float
    """Mean loss in nats."""
    accuracy: float
    """Share answered rightly."""
    weight: float
    """Total weight: the number of examples if every weight is 1."""


LossFunction = Callable[[Any, Any, Any], Sums]
"""`(model, batch, key or None) -> Sums`; the batch is a tree of arrays with a leading batch dimension."""


def cross_entropy(
    logits: Float[Array, "*b classes"], labels: Int[Array, "*b"], weights: Num[Array, "*b"] | None = None
) -> Sums:
    """Sum of weight * -log softmax(logits)[label] in nats, sum of weights, sum of weights of right answers.

    Computed in float32 whatever the type of the logits; no weights means 1 each.
    """
    weights = jnp.ones(labels.shape, jnp.float32) if weights is None else weights.astype(jnp.float32)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return Sums(jnp.sum(weights * nats), jnp.sum(weights), jnp.sum(weights * right))


def classification_loss(model: Any, batch: dict[str, Any], key: Any = None) -> Sums:
    """Cross-entropy of a classifier `model(tokens, segment_ids, key=key) -> logits (B, classes)`.

    batch: `tokens` (B, T) integers, `labels` (B,) integers, and optionally `segment_ids` (B, T) integers and
    `weights` (B,); a padded example has weight 0.
    """
    segment_ids = batch.get("segment_ids")
    segment_ids = None if segment_ids is None else segment_ids.astype(jnp.int32)
    logits = model(batch["tokens"].astype(jnp.int32), segment_ids, key=key)
    return cross_entropy(logits, batch["labels"].astype(jnp.int32), batch.get("weights"))


def init_state(
    build: Callable[[nnx.Rngs], Any], optimizer: Optimizer, steps: int, mesh: Mesh, *, seed: int
) -> tuple[Any, TrainState, TrainState]:
    """(graphdef, state, shardings) of the model `build(rngs)`; no weight is ever whole on one device.

    Raises ValueError if the model holds arrays that are not `nnx.Param`: they would not be saved.
    """
    graphdef, init, shardings = make_init(build, optimizer, steps, mesh)
    return graphdef, init(jax.random.key(seed)), shardings


def make_init(
    build: Callable[[nnx.Rngs], Any], optimizer: Optimizer, steps: int, mesh: Mesh
) -> tuple[Any, Callable[[Any], TrainState], TrainState]:
    """(graphdef, the jitted `init(key) -> state`, shardings): `init_state` for many seeds, compiled once.

    Raises ValueError as `init_state` does.
    """
    tx = make_optimizer(optimizer, steps)

    def init(key: Any) -> TrainState:
        params = nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))
        return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))

    graphdef, _, rest = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param, ...)
    if jax.tree.leaves(rest):
        names = ", ".join(sharding.path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(rest))
        raise ValueError(
            f"every array of a model must be an nnx.Param, got others at {names}; compute constants in "
            f"__call__ and pass keys as arguments."
        )
    shardings = sharding.state_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    return graphdef, jax.jit(init, out_shardings=shardings), shardings


def make_train_step(
    graphdef: Any,
    optimizer: Optimizer,
    steps: int,
    mesh: Mesh,
    shardings: TrainState,
    loss_fn: LossFunction = classification_loss,
) -> Any:
    """The jitted `train_step(state, batch, key) -> (state, Metrics)`; the given state is donated.

    The gradient is that of (sum of losses) / (sum of weights) over the whole batch, whatever the number of
    micro-batches. The step's randomness is `fold_in(key, state.step)`. If the loss or the gradient norm is
    not finite, the returned state equals the given one.
    """
    tx, rate = make_optimizer(optimizer, steps), schedule(optimizer, steps)

    def summed(params: Any, batch: Any, key: Any) -> tuple[Any, Sums]:
        sums = loss_fn(nnx.merge(graphdef, params), batch, key)
        return sums.loss, sums

    def train_step(state: TrainState, batch: Any, key: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        parts = _micro_batches(batch, optimizer.accumulate, mesh)
        grads, sums = _total(jax.grad(summed, has_aux=True), state.params, parts, key)
        grads = jax.tree.map(lambda g: g / sums.weight, grads)
        loss, norm = sums.loss / sums.weight, optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        new = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        metrics = Metrics(loss, sums.correct / sums.weight, norm, jnp.float32(rate(state.step)), finite)
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state), metrics

    whole = sharding.replicated(mesh)
    placed = (shardings, sharding.batch_sharding(mesh), whole)
    return jax.jit(train_step, donate_argnums=0, in_shardings=placed, out_shardings=(shardings, whole))


def _micro_batches(batch: Any, parts: int, mesh: Mesh) -> Any:
    """The batch with every leaf (B, ...) as (parts, B / parts, ...).

    Part a takes the rows a, a + parts, a + 2 parts, ...: no row has to leave its device.
    """

    def split(x: Any) -> Any:
        rows, ways = x.shape[0], mesh.shape["data"]
        if rows % (parts * ways):
            raise ValueError(
                f"the batch must divide evenly into micro-batches on every device, got {rows} rows for "
                f"accumulate={parts} on data={ways}; change the batch size or optimizer.accumulate."
            )
        x = jnp.swapaxes(x.reshape(rows // parts, parts, *x.shape[1:]), 0, 1)
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(None, "data")))

    return jax.tree.map(split, batch)


def _total(gradient: Any, params: Any, parts: Any, key: Any) -> tuple[Any, Sums]:
    """Gradient and `Sums`, added up over the micro-batches, whose activations live one part at a time."""
    count = jax.tree.leaves(parts)[0].shape[0]
    if count == 1:
        return gradient(params, jax.tree.map(lambda x: x[0], parts), key)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        rows, index = part
        return jax.tree.map(jnp.add, total, gradient(params, rows, jax.random.fold_in(key, index))), None

    zero = jnp.zeros((), jnp.float32)
    start = (jax.tree.map(jnp.zeros_like, params), Sums(zero, zero, zero))
    return jax.lax.scan(add, start, (parts, jnp.arange(count)))[0]


def make_evaluate(
    graphdef: Any, mesh: Mesh, shardings: TrainState, loss_fn: LossFunction = classification_loss
) -> Callable[[Any, Iterable[Any]], Evaluation]:
    """`evaluate(params, batches) -> Evaluation`, deterministic, exact for batches padded with weight 0.

    `evaluate` raises ValueError if the weights of all batches add up to nothing.
    """

    def summed(params: Any, batch: Any) -> Sums:
        return loss_fn(nnx.merge(graphdef, params), batch, None)

    placed = (shardings.params, sharding.batch_sharding(mesh))
    step = jax.jit(summed, in_shardings=placed, out_shardings=sharding.replicated(mesh))

    def evaluate(params: Any, batches: Iterable[Any]) -> Evaluation:
        total, ahead = Sums(0.0, 0.0, 0.0), None
        for batch in batches:
            # One batch ahead: the host prepares while the device works, and no queue of batches grows.
            ahead, done = step(params, batch), ahead
            total = _plus(total, done)
        loss, weight, correct = _plus(total, ahead)
        if weight == 0:
            raise ValueError("evaluation needs examples, got a total weight of 0; give batches with weight.")
        return Evaluation(loss / weight, correct / weight, weight)

    return evaluate


def _plus(total: Sums, sums: Sums | None) -> Sums:
    """The total on the host, in double precision."""
    return total if sums is None else Sums(*(t + float(s) for t, s in zip(total, sums, strict=True)))
