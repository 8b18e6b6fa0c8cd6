"""The placement of the residual stream: bytes between devices, the same numbers on every mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from pdeformer import Classifier, ModelConfig, sharding, train
from tests.pdeformer.sharding.collectives import collective_bytes

CONFIG = ModelConfig(
    vocabulary=12, classes=4, layers=2, width=32, heads=4, ffn=64, max_len=64, pooling="cls", dropout=0.1
)
ADAM = train.Optimizer(learning_rate=1e-2)
SIZES, ROWS = {"data": 2, "model": 4}, 128


def batch_of(rows, tokens=64):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, tokens + 1, (rows, 1))
    return {
        "tokens": rng.integers(0, 12, (rows, tokens)).astype(np.int32),
        "segment_ids": (np.arange(tokens)[None] < lengths).astype(np.int32),
        "labels": rng.integers(0, 4, rows).astype(np.int32),
    }


def programs(mesh, *, fsdp=False):
    graphdef, init, shardings = train.make_init(
        functools.partial(Classifier, CONFIG), ADAM, 10, mesh, fsdp=fsdp
    )
    return init, train.make_train_step(graphdef, ADAM, 10, mesh, shardings)


@pytest.mark.parametrize(
    ("shape", "axes", "spec"),
    [
        ((16, 64, 8), {"data": 4, "seq": 2, "model": 2}, (("data", "model"), "seq", None)),
        ((4, 64, 8), {"data": 4, "seq": 2, "model": 2}, ("data", "seq", None)),
        ((16, 65, 8), {"data": 4, "seq": 2, "model": 2}, (("data", "model"), None, None)),
        ((3, 64, 8), {"data": 4, "seq": 2, "model": 2}, (None, "seq", None)),
        ((16, 64, 8), {"data": 8}, ("data", None, None)),
        ((16, 64, 8), {"model": 4}, ("model", None, None)),  # inside a shard_map over "data"
        ((6, 64, 8), {"model": 4}, (None, None, None)),
        ((16, 64, 8), {"expert": 8}, (None, None, None)),
    ],
)
def test_rows_and_tokens_are_split_where_they_divide_and_the_width_never(shape, axes, spec):
    assert sharding.residual_spec(shape, axes) == PartitionSpec(*spec)


def test_without_a_mesh_nothing_is_staged():
    u = jnp.ones((4, 6, 8))
    assert sharding.constrain_residual(u) is u
    with jax.set_mesh(sharding.make_mesh(data=1)):
        assert sharding.constrain_residual(u) is u


def test_the_constraint_holds_under_scan_remat_vmap_and_leaves_manual_axes_alone():
    mesh, u = sharding.make_mesh(data=2, seq=2, model=2), jnp.ones((8, 6, 4))
    spec = PartitionSpec(("data", "model"), "seq")

    def block(u, _):
        return sharding.constrain_residual(2 * u), None

    def manual(u):
        return sharding.constrain_residual(u)

    with jax.set_mesh(mesh):
        assert jax.jit(lambda u: jax.lax.scan(jax.checkpoint(block), u, None, 3)[0])(u).sharding.spec == spec
        seeds = jax.jit(jax.vmap(sharding.constrain_residual))(jnp.stack([u, u, u]))
        assert seeds.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(None, *spec)), 4)
        gradient = jax.jit(jax.grad(lambda u: jnp.sum(sharding.constrain_residual(u) ** 2)))(u)
        np.testing.assert_array_equal(gradient, 2 * u)
        whole = jax.shard_map(manual, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
        np.testing.assert_array_equal(jax.jit(whole)(u), u)
        partly = jax.shard_map(
            manual,
            in_specs=PartitionSpec(None, "seq"),
            out_specs=PartitionSpec(None, "seq"),
            axis_names={"seq"},
        )
        np.testing.assert_array_equal(jax.jit(partly)(u), u)


def step_bytes(mesh, rows, *, fsdp=False):
    """Return the bytes of the collectives of a training step, and those of its weights."""
    init, step = programs(mesh, fsdp=fsdp)
    state = jax.eval_shape(init, jax.random.key(0))
    weights = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch_of(rows))
    key = jax.eval_shape(lambda: jax.random.key(0))
    return collective_bytes(step.lower(state, batch, key).compile().as_text()), weights


@pytest.mark.parametrize("fsdp", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_step_sends_weights_between_devices_and_no_activations(fsdp):
    """A program that sends the residual stream once per sublayer and direction moves ten times as much."""
    sent, weights = step_bytes(sharding.make_mesh(**SIZES), ROWS, fsdp=fsdp)
    activations = ROWS // SIZES["data"] * 65 * CONFIG.width * 4
    assert sum(sent.values()) < 4 * weights < activations
    assert set(sent) <= {"all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"}


def losses(mesh):
    init, step = programs(mesh)
    state, batch, result = init(jax.random.key(0)), sharding.put_batch(batch_of(ROWS), mesh), []
    for _ in range(3):
        state, metrics = step(state, batch, jax.random.key(1))
        result.append(float(metrics.loss))
    assert step._cache_size() == 1
    return result


def test_losses_and_dropout_do_not_depend_on_the_mesh():
    single, several = losses(sharding.make_mesh(data=1)), losses(sharding.make_mesh(**SIZES))
    np.testing.assert_allclose(single, several, rtol=1e-5)
    assert single[0] != single[1]
