"""The training step on a mesh: the state, loss functions, one compiled step, and evaluation.

The state has exactly three fields, and a jitted step keeps no other state.
A loss function `(model, batch, key) -> Sums` returns sums over examples, so that micro-batches, padded
evaluation batches and hosts add up exactly. key=None means deterministic (evaluation).

    B batch, T tokens
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Shaped

from pdeformer import sharding
from pdeformer.pde import is_concrete
from pdeformer.stencil.arguments import convert_integers, convert_segment_ids
from pdeformer.train.optimizer import Optimizer, make_optimizer, schedule


class TrainState(NamedTuple):
    """The state of a training run: everything that a step changes.

    Example:
        >>> from pdeformer.train import TrainState
        >>> TrainState(step=0, params={"bias": 1.0}, opt_state=()).params
        {'bias': 1.0}
    """

    step: Any
    """Number of updates so far, int32 scalar."""
    params: Any
    """The values of the model's `nnx.Param`s, as nested dictionaries."""
    opt_state: Any
    """The state of the optax transformation."""


class Sums(NamedTuple):
    """Float32 sums over the examples (or tokens) of a batch, the result of a loss function.

    Example:
        >>> from pdeformer.train import Sums
        >>> sums = Sums(loss=3.0, weight=4.0, correct=2.0)
        >>> sums.loss / sums.weight, sums.correct / sums.weight  # mean loss and accuracy
        (0.75, 0.5)
    """

    loss: Any
    """Sum of weight times loss in nats."""
    weight: Any
    """Sum of weights."""
    correct: Any
    """Sum of the weights of the correct predictions."""


class Metrics(NamedTuple):
    """The scalars that a step reports; loss, accuracy and gradient are those before the update.

    Example:
        >>> from pdeformer.train import Metrics
        >>> Metrics(loss=0.7, accuracy=0.5, gradient_norm=1.2, learning_rate=1e-3, finite=True).accuracy
        0.5
    """

    loss: Any
    """Mean loss of the batch in nats."""
    accuracy: Any
    """Weighted share of correct predictions in the batch, in [0, 1]."""
    gradient_norm: Any
    """Global L2 norm of the gradient before clipping."""
    learning_rate: Any
    """Learning rate of this update."""
    finite: Any
    """False if the loss or the gradient is not finite: the step then returns the state unchanged."""


class Evaluation(NamedTuple):
    """Means over a full data split.

    Example:
        >>> from pdeformer.train import Evaluation
        >>> Evaluation(loss=0.7, accuracy=0.5, weight=22.0)
        Evaluation(loss=0.7, accuracy=0.5, weight=22.0)
    """

    loss: float
    """Mean loss in nats."""
    accuracy: float
    """Weighted share of correct predictions, in [0, 1]."""
    weight: float
    """Total weight: the number of examples if every weight is 1."""


SHARE_ROUNDING = 1e-5
"""Largest excess over 1 of a float32 sum of shares."""
LossFunction = Callable[[Any, Any, Any], Sums]
"""`(model, batch, key or None) -> Sums`; the batch is a tree of arrays with a leading batch dimension."""


def cross_entropy(
    logits: Float[Array | np.ndarray, "..."],
    labels: Shaped[Array | np.ndarray, "..."] | list,
    weights: Shaped[Array | np.ndarray, "..."] | list | None = None,
) -> Sums:
    """Return the weighted sum of the cross-entropy -log softmax(logits)[label].

    The sums are computed in float32 for every type of logits. An example of weight 0 is not read: its label may be any
    integer, as -100, and its logits may be NaN. Under `jit` a label outside the classes makes the loss NaN.

    Args:
        logits: `(..., classes)`, any float.
        labels: the index of the class, integers `(...)`.
        weights: the weight of each example, `(...)`, ≥ 0; None means 1 each.

    Returns:
        The sum of weighted losses in nats, of weights, and of the weights of correct predictions.

    Raises:
        ValueError: Shapes differ, labels are no integers, or concrete labels or weights are out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.train import cross_entropy
        >>> sums = cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 1]))
        >>> round(float(sums.loss), 3), float(sums.weight), float(sums.correct)  # 2 ln 4
        (2.773, 2.0, 1.0)
    """
    logits, labels = jnp.asarray(logits), convert_integers("labels", labels)
    weights = jnp.ones(labels.shape) if weights is None else jnp.asarray(weights)
    _check_examples(logits, labels, weights)
    weights = weights.astype(jnp.float32)
    # zeros and class 0 where nothing is read, so that no number there reaches a sum or a gradient
    is_read, is_class = weights != 0, (labels >= 0) & (labels < logits.shape[-1])
    clean = jnp.where(is_read[..., None], logits.astype(jnp.float32), 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(clean, jnp.where(is_class, labels, 0))
    # NaN stands only where it is read: elsewhere it would reach the derivative by the weights, as 0 · NaN
    nats = jnp.where(is_read, weights * jnp.where(is_class | ~is_read, nats, jnp.nan), 0)
    correct = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return Sums(jnp.sum(nats), jnp.sum(weights), jnp.sum(weights * correct))


def _check_examples(logits: Array, labels: Array, weights: Array) -> None:
    classes = logits.shape[-1] if logits.ndim else 0
    if labels.shape != logits.shape[:-1] or weights.shape != labels.shape or classes == 0:
        raise ValueError(
            f"the cross-entropy needs logits (..., classes), and labels and weights (...), got {logits.shape}, "
            f"{labels.shape} and {weights.shape}; drop or add the axes where they differ."
        )
    if is_concrete(weights) and np.any(np.asarray(weights) < 0):
        raise ValueError(
            f"weights must be >= 0, got {np.min(weights)}; use 0 for an example that does not count."
        )
    if is_concrete(labels) and is_concrete(weights):
        read = np.asarray(labels)[np.asarray(weights) != 0]
        if np.any((read < 0) | (read >= classes)):
            raise ValueError(
                f"labels lie in 0 … {classes - 1}, got {read.min()} … {read.max()}; give an example without a label "
                "the weight 0, or raise the number of classes."
            )


def classification_loss(model: Any, batch: dict[str, Any], key: Any = None) -> Sums:
    """Return the cross-entropy of a classifier on a batch; the default loss function.

    Args:
        model: a function `model(tokens, segment_ids, key=key) -> logits (B, classes)`.
        batch: `tokens` (B, T) integers, `labels` (B,) integers, and optionally `segment_ids` (B, T) integers and
            `weights` (B,). A padded example has weight 0.
        key: the random key of dropout; None means deterministic.

    Returns:
        Sums over the batch.

    Raises:
        ValueError: As in `cross_entropy`, or an entry is missing or not of integers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pdeformer.train import classification_loss
        >>> model = lambda tokens, segment_ids, key: jax.nn.one_hot(tokens[:, 0], 3)
        >>> batch = {"tokens": jnp.array([[2, 0], [1, 0]]), "labels": jnp.array([2, 0])}
        >>> float(classification_loss(model, batch).correct)
        1.0
    """
    for name in ("tokens", "labels"):
        if name not in batch:
            raise ValueError(
                f"a batch needs the entries tokens and labels, got {', '.join(batch)}; add {name}."
            )
    segment_ids = batch.get("segment_ids")
    segment_ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    logits = model(convert_integers("tokens", batch["tokens"]), segment_ids, key=key)
    return cross_entropy(logits, batch["labels"], batch.get("weights"))


def init_state(
    build: Callable[[nnx.Rngs], Any],
    optimizer: Optimizer,
    steps: int,
    mesh: Mesh,
    *,
    seed: int,
    fsdp: bool = False,
) -> tuple[Any, TrainState, TrainState]:
    """Initialize a model and its optimizer on a mesh; no device holds a full copy of a sharded weight.

    Args:
        build: makes the model from `nnx.Rngs`.
        optimizer: the configuration of the optimizer.
        steps: the number of updates of the run.
        mesh: the mesh, see `sharding.make_mesh`.
        seed: the seed of the weights.
        fsdp: whether weights and moments are split over "data" as well, see `sharding.spec_of`.

    Returns:
        (graphdef, state, shardings): the structure of the model, the state at step 0, and the sharding of each of
        its leaves.

    Raises:
        ValueError: the model holds an array that is not an `nnx.Param`, which would not be saved.

    Example:
        >>> from flax import nnx
        >>> from pdeformer import sharding, train
        >>> build = lambda rngs: nnx.Linear(2, 3, rngs=rngs)
        >>> _, state, _ = train.init_state(build, train.Optimizer(), 10, sharding.make_mesh(data=1), seed=0)
        >>> int(state.step), state.params["kernel"].shape
        (0, (2, 3))
    """
    graphdef, init, shardings = make_init(build, optimizer, steps, mesh, fsdp=fsdp)
    return graphdef, init(jax.random.key(seed)), shardings


def make_init(
    build: Callable[[nnx.Rngs], Any], optimizer: Optimizer, steps: int, mesh: Mesh, *, fsdp: bool = False
) -> tuple[Any, Callable[[Any], TrainState], TrainState]:
    """Make a jitted initializer of a model and its optimizer: `init_state` for many seeds, compiled once.

    Args:
        build: makes the model from `nnx.Rngs`.
        optimizer: the configuration of the optimizer.
        steps: the number of updates of the run.
        mesh: the mesh, see `sharding.make_mesh`.
        fsdp: whether weights and moments are split over "data" as well, see `sharding.spec_of`.

    Returns:
        (graphdef, init, shardings): the structure of the model, the jitted function `init(key) -> state`, and the
        sharding of each leaf of the state.

    Raises:
        ValueError: the model holds an array that is not an `nnx.Param`, which would not be saved.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from pdeformer import sharding, train
        >>> build = lambda rngs: nnx.Linear(2, 3, rngs=rngs)
        >>> _, init, _ = train.make_init(build, train.Optimizer(), 10, sharding.make_mesh(data=1))
        >>> init(jax.random.key(0)).params["kernel"].shape
        (2, 3)
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
    shardings = sharding.state_shardings(jax.eval_shape(init, jax.random.key(0)), mesh, fsdp=fsdp)
    return graphdef, jax.jit(init, out_shardings=shardings), shardings


def make_train_step(
    graphdef: Any,
    optimizer: Optimizer,
    steps: int,
    mesh: Mesh,
    shardings: TrainState,
    loss_fn: LossFunction = classification_loss,
) -> Any:
    """Make the jitted function `train_step(state, batch, key) -> (state, Metrics)`, which donates its state.

    The gradient is that of (sum of losses) / (sum of weights) over the full batch, for any number of
    micro-batches. The random key of a step is `fold_in(key, state.step)`. If the loss or the gradient norm is not
    finite, the step returns its input state.

    Args:
        graphdef: the structure of the model, from `init_state` or `make_init`.
        optimizer: the configuration of the optimizer.
        steps: the number of updates of the run.
        mesh: the mesh.
        shardings: the sharding of each leaf of the state, from `init_state` or `make_init`.
        loss_fn: the loss function.

    Returns:
        The jitted function. Its batch must divide evenly into micro-batches on every device, else it raises
        ValueError.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import sharding, train
        >>> build = lambda rngs: nnx.Linear(2, 3, rngs=rngs)
        >>> loss = lambda model, batch, key: train.cross_entropy(model(batch["x"]), batch["labels"])
        >>> mesh, adam = sharding.make_mesh(data=1), train.Optimizer()
        >>> graphdef, state, shardings = train.init_state(build, adam, 10, mesh, seed=0)
        >>> step = train.make_train_step(graphdef, adam, 10, mesh, shardings, loss)
        >>> batch = {"x": jnp.ones((4, 2)), "labels": jnp.zeros(4, jnp.int32)}
        >>> state, metrics = step(state, batch, jax.random.key(0))
        >>> int(state.step), bool(metrics.finite)
        (1, True)
    """
    update = make_update(graphdef, optimizer, steps, loss_fn, mesh=mesh)
    replicated = sharding.replicated_sharding(mesh)
    in_shardings = (shardings, sharding.batch_sharding(mesh), replicated)
    out_shardings = (shardings, replicated)
    return jax.jit(update, donate_argnums=0, in_shardings=in_shardings, out_shardings=out_shardings)


def make_update(
    graphdef: Any,
    optimizer: Optimizer,
    steps: int,
    loss_fn: LossFunction = classification_loss,
    *,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, Metrics]]:
    """Make the pure function that `make_train_step` compiles, for `jax.vmap` and `jax.lax.scan` over trainings.

    Args:
        graphdef: the structure of the model, from `init_state` or `make_init`.
        optimizer: the configuration of the optimizer.
        steps: the number of updates of the run.
        loss_fn: the loss function.
        mesh: where the micro-batches of a batch are placed; None leaves the placement to the caller.

    Returns:
        The function `update(state, batch, key) -> (state, Metrics)`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import sharding, train
        >>> build = lambda rngs: nnx.Linear(2, 3, rngs=rngs)
        >>> loss = lambda model, batch, key: train.cross_entropy(model(batch["x"]), batch["labels"])
        >>> adam = train.Optimizer()
        >>> graphdef, init, _ = train.make_init(build, adam, 10, sharding.make_mesh(data=1))
        >>> update = train.make_update(graphdef, adam, 10, loss)
        >>> states = jax.vmap(init)(jax.random.split(jax.random.key(0), 3))  # three trainings on one batch
        >>> batch = {"x": jnp.ones((4, 2)), "labels": jnp.zeros(4, jnp.int32)}
        >>> states, metrics = jax.vmap(update, in_axes=(0, None, None))(states, batch, jax.random.key(0))
        >>> metrics.loss.shape
        (3,)
    """
    tx, rate = make_optimizer(optimizer, steps), schedule(optimizer, steps)

    def loss_and_sums(params: Any, batch: Any, key: Any) -> tuple[Any, Sums]:
        sums = loss_fn(nnx.merge(graphdef, params), batch, key)
        return sums.loss, sums

    def train_step(state: TrainState, batch: Any, key: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        micro_batches = _micro_batches(batch, optimizer.accumulate, mesh)
        with nullcontext() if mesh is None else jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            grads, sums = _accumulate(jax.grad(loss_and_sums, has_aux=True), state.params, micro_batches, key)
        grads = jax.tree.map(lambda g: g / sums.weight, grads)
        loss, norm = sums.loss / sums.weight, optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        updated = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        metrics = Metrics(loss, sums.correct / sums.weight, norm, jnp.float32(rate(state.step)), finite)
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state), metrics

    return train_step


def _micro_batches(batch: Any, count: int, mesh: Mesh | None) -> Any:
    """Split every leaf (B, ...) of the batch to (count, B / count, ...).

    Micro-batch a has the rows a, a + count, a + 2 count, ..., so that no row leaves its device.
    """

    def split(x: Any) -> Any:
        rows, shards = x.shape[0], 1 if mesh is None else mesh.shape["data"]
        if rows % (count * shards):
            raise ValueError(
                f"the batch must divide evenly into micro-batches on every device, got {rows} rows for "
                f"accumulate={count} on data={shards}; change the batch size or optimizer.accumulate."
            )
        x = jnp.swapaxes(x.reshape(rows // count, count, *x.shape[1:]), 0, 1)
        if mesh is None:
            return x
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(None, "data")))

    return jax.tree.map(split, batch)


def _accumulate(gradient: Any, params: Any, micro_batches: Any, key: Any) -> tuple[Any, Sums]:
    """Add the gradient and the `Sums` over the micro-batches, with the activations of one micro-batch at a time."""
    count = jax.tree.leaves(micro_batches)[0].shape[0]
    if count == 1:
        return gradient(params, jax.tree.map(lambda x: x[0], micro_batches), key)

    def add(total: Any, micro_batch: Any) -> tuple[Any, None]:
        rows, index = micro_batch
        return jax.tree.map(jnp.add, total, gradient(params, rows, jax.random.fold_in(key, index))), None

    zero = jnp.zeros((), jnp.float32)
    start = (jax.tree.map(jnp.zeros_like, params), Sums(zero, zero, zero))
    return jax.lax.scan(add, start, (micro_batches, jnp.arange(count)))[0]


def make_evaluate(
    graphdef: Any,
    mesh: Mesh,
    shardings: TrainState,
    loss_fn: LossFunction = classification_loss,
    *,
    with_hits: bool = False,
) -> Callable[..., Evaluation]:
    """Make the function `evaluate(params, batches, hits=None) -> Evaluation`.

    It is deterministic, and exact for batches that are padded with examples of weight 0.

    Hits are the examples whose predictions are right. `evaluate` appends them to the list `hits` for each batch, as a
    boolean array (B,) of the global batch, the same on every host. If the loss takes a mean over several predictions
    of an example, they are the share of right ones, float (B,). The same program computes them: `Sums.correct` is
    Σ weight · hit, so its derivative by the weights is the hits.

    Args:
        graphdef: the structure of the model, from `init_state` or `make_init`.
        mesh: the mesh.
        shardings: the sharding of each leaf of the state, from `init_state` or `make_init`.
        loss_fn: the loss function.
        with_hits: whether `evaluate` can return hits. It needs a loss function that weighs the correct predictions by
            the entry `weights` of a batch, float (B,), as `classification_loss` does.

    Returns:
        The function.

    Raises:
        ValueError: raised by `evaluate` if the total weight of all batches is 0, or if hits are wanted and not there.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from pdeformer import sharding, train
        >>> build = lambda rngs: nnx.Linear(2, 3, rngs=rngs)
        >>> loss = lambda model, batch, key: train.cross_entropy(model(batch["x"]), batch["labels"])
        >>> mesh = sharding.make_mesh(data=1)
        >>> graphdef, state, shardings = train.init_state(build, train.Optimizer(), 10, mesh, seed=0)
        >>> evaluate = train.make_evaluate(graphdef, mesh, shardings, loss)
        >>> evaluate(state.params, [{"x": jnp.ones((4, 2)), "labels": jnp.zeros(4, jnp.int32)}]).weight
        4.0
    """

    def sums_of_batch(params: Any, batch: Any) -> tuple[Sums, Any]:
        def loss(batch: Any) -> Sums:
            return loss_fn(nnx.merge(graphdef, params), batch, None)

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return sums_and_hits(loss, batch) if with_hits else (loss(batch), None)

    in_shardings = (shardings.params, sharding.batch_sharding(mesh))
    step = jax.jit(sums_of_batch, in_shardings=in_shardings, out_shardings=sharding.replicated_sharding(mesh))

    def evaluate(params: Any, batches: Iterable[Any], hits: list[Any] | None = None) -> Evaluation:
        total, pending = Sums(0.0, 0.0, 0.0), None
        for batch in batches:
            # Dispatch one batch ahead, so that the host prepares a batch while the device computes another.
            # At most one result is pending, so no queue of batches grows.
            pending, previous = step(params, batch), pending
            total = _add_on_host(total, previous, hits)
        loss, weight, correct = _add_on_host(total, pending, hits)
        if weight == 0:
            raise ValueError("evaluation needs examples, got a total weight of 0; give batches with weight.")
        return Evaluation(loss / weight, correct / weight, weight)

    return evaluate


def sums_and_hits(loss: Callable[[Any], Sums], batch: Any) -> tuple[Sums, Any]:
    """Return the sums of a batch, and the derivative of `correct` by the weights; None without weights."""
    weights = batch.get("weights") if isinstance(batch, dict) else None
    if weights is None or not jnp.issubdtype(weights.dtype, jnp.floating):
        return loss(batch), None
    sums, pull = jax.vjp(lambda weights: loss({**batch, "weights": weights}), weights)
    zero, one = jnp.zeros((), sums.loss.dtype), jnp.ones((), sums.correct.dtype)
    hits = pull(Sums(zero, jnp.zeros((), sums.weight.dtype), one))[0]
    is_linear = jnp.isclose(jnp.sum(weights * hits), sums.correct)  # not if the loss ignores the weights
    return sums, jnp.where(is_linear, hits, jnp.nan)


def _add_on_host(total: Sums, result: tuple[Sums, Any] | None, hits: list[Any] | None) -> Sums:
    """Add the sums of a batch to the total on the host, in double precision, and append its hits to the list."""
    if result is None:
        return total
    sums, derivative = result
    if hits is not None:
        hits.append(_check_hits(derivative))
    return Sums(*(t + float(s) for t, s in zip(total, sums, strict=True)))


def _check_hits(derivative: Any) -> np.ndarray:
    """Return which predictions are right, or the share of them. Raises ValueError unless the derivative is a share."""
    values = None if derivative is None else np.asarray(derivative)
    if values is None or values.ndim != 1 or not ((values >= 0) & (values <= 1 + SHARE_ROUNDING)).all():
        fault = "none" if values is None else "a sum of correct predictions that is not Σ weight · hit"
        raise ValueError(
            f"hits need with_hits=True and a loss function that weighs correct predictions by float weights (B,) in "
            f"the batch, got {fault}; pass hits=None, or weigh as cross_entropy does."
        )
    return values == 1 if np.isin(values, (0, 1)).all() else np.minimum(values, 1)
