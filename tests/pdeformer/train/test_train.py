"""The loss, and the training step on a mesh."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tyro
from flax import nnx

from experiments import run
from pdeformer import sharding, train
from pdeformer.train import cross_entropy
from tests.helpers import tiny

STEPS = 20
KEY, INIT_KEY = jax.random.key(7), jax.random.key(0)
ADAM = train.Optimizer(learning_rate=1e-2)


def run_steps(steps, *, mesh, optimizer=ADAM, key=KEY, loss_fn=train.classification_loss):
    """Return (step function, last state, list of metrics) of `steps` steps from seed 0."""
    programs = run.make_programs(tiny.build, optimizer, STEPS, mesh, loss_fn)
    state, metrics = programs.init(INIT_KEY), []
    for index in range(steps):
        state, step_metrics = programs.step(state, sharding.put_batch(tiny.batch_of(index), mesh), key)
        metrics.append(jax.device_get(step_metrics))
    return programs.step, state, metrics


# The loss.


def test_cross_entropy_by_hand():
    """Logits (0, ln 3): probabilities 1/4 and 3/4."""
    logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]))
    sums = train.cross_entropy(logits, jnp.array([0, 1, 1]), jnp.array([2.0, 1.0, 0.0]))
    np.testing.assert_allclose(sums.loss, 2 * math.log(4) + math.log(4 / 3), rtol=1e-6)
    assert (float(sums.weight), float(sums.correct)) == (3.0, 1.0)


def test_loss_of_bfloat16_logits_is_float32():
    sums = train.cross_entropy(jnp.zeros((2, 5, 3), jnp.bfloat16), jnp.zeros((2, 5), jnp.int32))
    assert {s.dtype for s in sums} == {jnp.dtype("float32")}
    np.testing.assert_allclose(sums.loss, 10 * math.log(3), rtol=1e-6)


# The step.


def test_step_reports_the_rate_it_uses():
    optimizer = train.Optimizer(learning_rate=0.3, schedule="linear", warmup=2)
    _, _, metrics = run_steps(4, mesh=sharding.make_mesh(data=1), optimizer=optimizer)
    np.testing.assert_allclose([m.learning_rate for m in metrics], [0, 0.15, 0.3, 0.3 * 17 / 18], rtol=1e-6)


def test_training_learns():
    _, _, metrics = run_steps(
        STEPS, mesh=sharding.make_mesh(data=1), optimizer=train.Optimizer(learning_rate=3e-2)
    )
    assert metrics[-1].loss < 0.8 * metrics[0].loss


def test_losses_on_a_4x2_mesh_equal_those_on_one_device():
    single_device, sharded = (
        run_steps(6, mesh=mesh)[2] for mesh in (sharding.make_mesh(data=1), sharding.make_mesh(model=2))
    )
    for a, b in zip(single_device, sharded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_step_compiles_once_and_a_restored_state_fits_it():
    mesh = sharding.make_mesh(model=2)
    step, state, _ = run_steps(3, mesh=mesh)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    restored = jax.tree.map(jax.device_put, jax.device_get(state), shardings)
    step(restored, sharding.put_batch(tiny.batch_of(9), mesh), KEY)
    assert step._cache_size() == 1


def test_given_state_is_donated():
    mesh = sharding.make_mesh(data=1)
    step, state, _ = run_steps(1, mesh=mesh)
    kernel = state.params["head"]["kernel"]
    step(state, sharding.put_batch(tiny.batch_of(1), mesh), KEY)
    assert kernel.is_deleted()


def weighted_loss(model, batch, key):
    """Return the loss without dropout, with weights 0 to 2 that depend on the first token."""
    del key
    return train.classification_loss(model, batch | {"weights": batch["tokens"][:, 0] % 3})


@pytest.mark.parametrize("mesh", [{"data": 1}, {"data": 2, "model": 2}])
def test_accumulated_gradient_is_that_of_the_large_batch(mesh):
    mesh = sharding.make_mesh(**mesh)
    full, accumulated = (
        run_steps(3, mesh=mesh, optimizer=train.Optimizer(accumulate=n), loss_fn=weighted_loss)[1:]
        for n in (1, 4)
    )
    for a, b in zip(full[1], accumulated[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)  # the float32 sums have another order


def test_dropout_depends_on_key_step_and_nothing_else():
    """With a learning rate near 0 and a single batch, only dropout changes the loss."""
    mesh, losses = sharding.make_mesh(data=1), []
    optimizer = train.Optimizer(learning_rate=1e-30)
    programs = run.make_programs(tiny.build, optimizer, STEPS, mesh)
    batch = sharding.put_batch(tiny.batch_of(0), mesh)
    for key in (KEY, KEY, jax.random.key(8)):
        state = programs.init(INIT_KEY)
        for _ in range(2):
            state, metrics = programs.step(state, batch, key)
            losses.append(float(metrics.loss))
    assert losses[0:2] == losses[2:4]
    assert len({*losses}) == 4


def test_every_micro_batch_of_every_step_has_a_key_of_its_own():
    def draw(key):
        return jax.random.uniform(key)

    def loss_fn(model, batch, key):
        return train.classification_loss(model, batch)._replace(loss=draw(key), weight=jnp.float32(1))

    optimizer = train.Optimizer(accumulate=2)
    _, _, metrics = run_steps(2, mesh=sharding.make_mesh(data=1), optimizer=optimizer, loss_fn=loss_fn)
    for step in range(2):
        draws = [draw(jax.random.fold_in(jax.random.fold_in(KEY, step), index)) for index in range(2)]
        np.testing.assert_allclose(metrics[step].loss, np.mean(draws), rtol=1e-6)


def test_uneven_micro_batches_are_refused():
    with pytest.raises(ValueError, match=r"got 16 rows for accumulate=3 on data=1; change the batch size"):
        run_steps(1, mesh=sharding.make_mesh(data=1), optimizer=train.Optimizer(accumulate=3))


def test_gradient_norm_is_that_of_the_mean_loss():
    mesh = sharding.make_mesh(data=1)
    _, _, (metrics,) = run_steps(1, mesh=mesh, loss_fn=weighted_loss)
    graphdef, state, _ = train.init_state(tiny.build, train.Optimizer(), STEPS, mesh, seed=0)

    def mean(params):
        sums = weighted_loss(nnx.merge(graphdef, params), jax.tree.map(jnp.asarray, tiny.batch_of(0)), None)
        return sums.loss / sums.weight

    loss, gradient = jax.jit(jax.value_and_grad(mean))(state.params)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.gradient_norm, optax.tree.norm(jax.device_get(gradient)), rtol=1e-5)


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_step_that_is_not_finite_leaves_the_state_untouched(poison):
    def loss_fn(model, batch, key):
        sums = train.classification_loss(model, batch, key)
        always = batch["labels"].sum() >= 0  # true, but unknown at compile time
        root = jnp.sqrt(jnp.where(always, sums.loss * 0, 1.0))  # value 0, derivative infinite times zero
        return sums._replace(loss=sums.loss + (jnp.where(always, jnp.nan, 0) if poison == "loss" else root))

    mesh = sharding.make_mesh(data=1)
    before = jax.device_get(run.make_programs(tiny.build, train.Optimizer(), STEPS, mesh).init(INIT_KEY))
    _, after, (metrics,) = run_steps(1, mesh=mesh, optimizer=train.Optimizer(), loss_fn=loss_fn)
    assert not metrics.finite
    assert bool(np.isfinite(metrics.loss)) == (poison == "gradient")
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(jax.device_get(after)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_model_with_arrays_that_are_no_parameters_is_refused():
    class WithTable(nnx.Module):
        def __init__(self, rngs):
            self.head = nnx.Linear(2, 2, rngs=rngs)
            self.table = nnx.Variable(jnp.zeros(3))

    with pytest.raises(ValueError, match=r"must be an nnx.Param, got others at table.*compute constants"):
        train.init_state(WithTable, train.Optimizer(), STEPS, sharding.make_mesh(data=1), seed=0)


# Evaluation.


def test_evaluation_of_padded_batches_equals_the_whole_split():
    mesh = sharding.make_mesh(data=2)
    graphdef, state, shardings = train.init_state(tiny.build, train.Optimizer(), STEPS, mesh, seed=0)
    split = tiny.batch_of(0, 22)
    evaluate = train.make_evaluate(graphdef, mesh, shardings)
    full = evaluate(state.params, [sharding.put_batch(split, mesh)])
    padded = jax.tree.map(lambda x: np.concatenate([x, x[:2]]), split) | {
        "weights": np.r_[np.ones(22), np.zeros(2)]
    }
    batches = [sharding.put_batch(jax.tree.map(lambda x: x[i : i + 8], padded), mesh) for i in (0, 8, 16)]  # noqa: B023
    np.testing.assert_allclose(evaluate(state.params, batches), full, rtol=1e-6)
    model = nnx.merge(graphdef, state.params)
    logits = model(jnp.asarray(split["tokens"]), jnp.asarray(split["segment_ids"]))
    accuracy = np.mean(np.argmax(logits, -1) == split["labels"])
    assert (full.accuracy, full.weight) == (pytest.approx(accuracy), 22.0)


def test_evaluation_without_weight_is_refused():
    mesh = sharding.make_mesh(data=1)
    graphdef, state, shardings = train.init_state(tiny.build, train.Optimizer(), STEPS, mesh, seed=0)
    with pytest.raises(ValueError, match="got a total weight of 0"):
        train.make_evaluate(graphdef, mesh, shardings)(state.params, [])


def test_field_docstrings_reach_the_command_line(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(train.Optimizer, args=["--help"])
    text = capsys.readouterr().out
    assert "Largest global norm of the gradient" in text
    assert all(f"--{field.name.replace('_', '-')}" in text for field in dataclasses.fields(train.Optimizer))


def test_name_of_an_earlier_release_is_served_with_a_warning():
    with pytest.warns(DeprecationWarning, match="train.decayed is now train.decay_mask"):
        assert train.decayed is train.decay_mask
    with pytest.raises(AttributeError, match="no attribute 'decays'"):
        train.decays  # noqa: B018


def test_hits_are_the_right_predictions_in_the_order_of_the_batches_on_every_mesh():
    split = tiny.batch_of(0, 24) | {"weights": np.r_[np.ones(22), np.zeros(2)].astype(np.float32)}
    batches = [jax.tree.map(lambda x: x[i : i + 8], split) for i in (0, 8, 16)]  # noqa: B023
    for shape in ({"data": 1}, {"data": 4, "model": 2}):
        mesh = sharding.make_mesh(**shape)
        graphdef, state, shardings = train.init_state(tiny.build, train.Optimizer(), STEPS, mesh, seed=0)
        evaluate = train.make_evaluate(graphdef, mesh, shardings, with_hits=True)
        hits: list[np.ndarray] = []
        rows = [sharding.put_batch(batch, mesh) for batch in batches]
        evaluation = evaluate(state.params, rows, hits)
        model = nnx.merge(graphdef, state.params)
        logits = model(jnp.asarray(split["tokens"]), jnp.asarray(split["segment_ids"]))
        np.testing.assert_array_equal(np.concatenate(hits), np.argmax(logits, -1) == split["labels"])
        assert evaluation.accuracy == pytest.approx(np.concatenate(hits)[:22].mean())
        assert evaluation == train.make_evaluate(graphdef, mesh, shardings)(state.params, rows)


def test_hits_are_shares_of_the_labels_of_an_example_and_labels_without_weight_are_not_read():
    logits = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    labels = np.array([[-100, 2, 4], [0, -100, -100], [1, 1, 1], [-100, -100, -100]])

    def loss(model, batch, key):
        share = (labels >= 0) / np.maximum((labels >= 0).sum(-1, keepdims=True), 1)
        return train.cross_entropy(jnp.asarray(logits), labels, share * batch["weights"][:, None])

    mesh = sharding.make_mesh(data=1)
    graphdef, state, shardings = train.init_state(tiny.build, train.Optimizer(), 10, mesh, seed=0)
    hits: list[np.ndarray] = []
    evaluate = train.make_evaluate(graphdef, mesh, shardings, loss, with_hits=True)
    evaluate(state.params, [{"weights": np.ones(4, np.float32)}], hits)
    right = (logits.argmax(-1) == labels) & (labels >= 0)
    np.testing.assert_allclose(hits[0], right.sum(-1) / np.maximum((labels >= 0).sum(-1), 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss_fn", "options"),
    [
        (train.classification_loss, {}),
        (lambda model, batch, key: train.classification_loss(model, batch | {"weights": None}), {"with_hits": True}),
    ],
    ids=["not wanted", "loss without weights"],
)  # fmt: skip
def test_hits_that_are_not_there_are_refused(loss_fn, options):
    mesh = sharding.make_mesh(data=1)
    graphdef, state, shardings = train.init_state(tiny.build, train.Optimizer(), STEPS, mesh, seed=0)
    batch = sharding.put_batch(tiny.batch_of(0, 64) | {"weights": np.ones(64, np.float32)}, mesh)
    evaluate = train.make_evaluate(graphdef, mesh, shardings, loss_fn, **options)
    with pytest.raises(ValueError, match=r"hits need with_hits=True and a loss function that weighs"):
        evaluate(state.params, [batch], [])


LOGITS = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)


def test_an_example_of_weight_zero_is_not_read():
    """Its label may be any integer and its logits NaN, in the sums and in the gradient."""
    expected = cross_entropy(LOGITS[:2], np.array([0, 1]))
    spoiled, weights = np.copy(LOGITS), np.array([1, 1, 0])
    spoiled[2] = np.nan
    for label in (-100, -1, 4, 2**31 - 1):
        labels = np.array([0, 1, label])
        for loss in (cross_entropy, jax.jit(cross_entropy)):
            np.testing.assert_allclose(loss(spoiled, labels, weights), expected, rtol=1e-6)
        gradient = jax.grad(lambda x, labels=labels: cross_entropy(x, labels, weights).loss)(
            jnp.asarray(spoiled)
        )
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[2], 0)


def test_a_label_outside_the_classes_is_refused_and_makes_the_loss_nan_under_jit():
    for label in (-1, 4):
        with pytest.raises(ValueError, match=r"labels lie in 0 … 3, got .*weight 0"):
            cross_entropy(LOGITS, np.array([0, 1, label]))
        assert np.isnan(jax.jit(cross_entropy)(LOGITS, np.array([0, 1, label])).loss)


def test_shapes_of_a_loss_do_not_broadcast():
    labels = np.array([0, 1, 2])
    for bad in (
        (labels, np.ones((3, 1))),
        (labels[:, None], None),
        (labels, np.ones(())),
        (labels[:2], None),
    ):
        with pytest.raises(ValueError, match=r"needs logits \(..., classes\), and labels and weights"):
            cross_entropy(LOGITS, *bad)
    with pytest.raises(ValueError, match="weights must be >= 0, got -1"):
        cross_entropy(LOGITS, labels, np.array([1, 1, -1]))


@pytest.mark.parametrize("name", ["tokens", "labels", "segment_ids"])
def test_entries_of_a_batch_are_integers_that_do_not_wrap(name):
    batch = {"tokens": np.ones((2, 3), int), "labels": np.ones(2, int), "segment_ids": np.ones((2, 3), int)}
    model: Any = lambda tokens, segment_ids, key: jax.nn.one_hot(tokens[:, 0], 3)  # noqa: E731
    assert float(train.classification_loss(model, batch).correct) == 2
    with pytest.raises(ValueError, match=f"{name} must be integers"):
        train.classification_loss(model, batch | {name: batch[name] * 0.6})
    with pytest.raises(ValueError, match=f"{name} must fit int32"):
        train.classification_loss(model, batch | {name: batch[name] * 2**32})
    if name != "segment_ids":
        with pytest.raises(ValueError, match=f"needs the entries tokens and labels.*add {name}"):
            train.classification_loss(model, {k: v for k, v in batch.items() if k != name})
