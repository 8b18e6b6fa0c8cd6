"""The mesh, the table of rules, and batches on the mesh."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pdeformer import sharding
from pdeformer.train import Optimizer, init_state
from tests.helpers import tiny


def test_mesh_takes_all_remaining_devices():
    mesh = sharding.make_mesh(model=2)
    assert dict(mesh.shape) == {"data": 4, "seq": 1, "model": 2}
    assert mesh.axis_types == (AxisType.Auto,) * 3
    assert mesh.devices.ravel().tolist() == jax.devices()


def test_mesh_may_take_fewer_devices_than_there_are():
    assert sharding.make_mesh(data=1).devices.tolist() == [[[jax.devices()[0]]]]
    assert dict(sharding.make_mesh(data=2, model=2, seq=2).shape) == {"data": 2, "seq": 2, "model": 2}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"data": 16}, "16 of 8 (data=16, model=1, seq=1)"),
        ({"data": -1, "model": 3}, "got 8 devices and 3 (data=-1, model=3, seq=1)"),
        ({"data": -1, "model": -1}, "at most one is -1, got (data=-1, model=-1, seq=1)"),
        ({"data": 0}, "mesh sizes are positive"),
        ({"model": 16}, "got 8 devices and 16"),
    ],
)
def test_mesh_that_does_not_fit_is_refused(sizes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        sharding.make_mesh(**sizes)


@pytest.mark.parametrize(
    ("name", "shape", "spec"),
    [
        ("blocks/attention/query/kernel", (2, 8, 8), (None, None, "model")),
        ("blocks/attention/key/kernel", (2, 8, 4, 3), (None, None, "model")),
        ("blocks/attention/value/bias", (2, 4, 3), (None, "model")),
        ("blocks/attention/out/kernel", (2, 8, 8), (None, "model")),
        ("blocks/attention/out/kernel", (2, 4, 3, 8), (None, "model")),
        ("blocks/attention/out/bias", (2, 8), ()),
        ("blocks/ffn/up/kernel", (2, 8, 16), (None, None, "model")),
        ("blocks/ffn/up/bias", (2, 16), (None, "model")),
        ("blocks/ffn/down/kernel", (2, 16, 8), (None, "model")),
        ("blocks/ffn/down/bias", (2, 8), ()),
        ("encoder/blocks/ffn/up/kernel", (2, 8, 16), (None, None, "model")),
        ("embed/token/embedding", (12, 8), (None, "model")),
        ("head/kernel", (8, 4), (None, "model")),
        ("head/bias", (4,), ("model",)),
        ("blocks/norm/scale", (2, 8), ()),
        ("blocks/stencils/before_ffn/kernel", (2, 3, 8), ()),
        ("after_embedding/rate", (8,), ()),
        ("opt_state/0/mu/blocks/ffn/up/kernel", (2, 8, 16), (None, None, "model")),
        ("opt_state/0/count", (), ()),
    ],
)
def test_rules_place_every_kind_of_parameter(name, shape, spec):
    assert sharding.spec_of(name, shape, sharding.make_mesh(model=2)) == PartitionSpec(*spec)


def test_dimension_that_the_axis_does_not_divide_is_replicated_and_logged(caplog):
    with caplog.at_level(logging.INFO, logger="pdeformer.sharding"):
        spec = sharding.spec_of("head/kernel", (8, 3), sharding.make_mesh(model=2))
    assert spec == PartitionSpec()
    assert "head/kernel (8, 3) is replicated: 3 is not divisible by model=2" in caplog.text


def test_parameter_of_fewer_dimensions_than_its_rule_is_replicated():
    assert sharding.spec_of("blocks/ffn/up/kernel", (8, 16), sharding.make_mesh(model=2)) == PartitionSpec()


def test_state_is_born_sharded_and_moments_lie_beside_their_parameter():
    mesh = sharding.make_mesh(model=2)
    _, state, shardings = init_state(tiny.build, Optimizer(), 10, mesh, seed=0)
    moments = state.opt_state[0]
    for tree in (state.params, moments.mu, moments.nu):
        up = tree["blocks"]["ffn"]["up"]["kernel"]
        assert up.shape == (tiny.LAYERS, tiny.CHANNELS, 2 * tiny.CHANNELS)
        assert up.sharding == NamedSharding(mesh, PartitionSpec(None, None, "model"))
        assert up.addressable_shards[0].data.shape == (tiny.LAYERS, tiny.CHANNELS, tiny.CHANNELS)
        assert tree["blocks"]["norm"]["scale"].sharding.is_fully_replicated
    assert jax.tree.map(lambda x: x.sharding, state) == shardings


def test_paths_of_nnx_states_have_the_names_of_pure_dictionaries():
    mesh, model = sharding.make_mesh(model=2), tiny.Tiny(rngs=nnx.Rngs(0))
    state = nnx.state(model)
    pure = sharding.state_shardings(nnx.to_pure_dict(state), mesh)
    expected = {name: x.spec for name, x in names_of(pure).items()}
    assert sum(spec != PartitionSpec() for spec in expected.values()) >= 8
    assert {name: x.spec for name, x in names_of(sharding.state_shardings(state, mesh)).items()} == expected
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    for tree, prefix in ((nnx.state(optimizer), "opt_state/0/mu/"), (optax.adam(1e-3).init(state), "0/mu/")):
        specs = {name: x.spec for name, x in names_of(sharding.state_shardings(tree, mesh)).items()}
        assert {name: specs[prefix + name] for name in expected} == expected


def names_of(tree):
    return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"mixer": {"kernel": np.zeros((4, 4))}, "bias": np.zeros(4)}, "the names bias, mixer/kernel"),
        ({"head": {"kernel": np.zeros((4, 3))}}, "other shapes at head/kernel"),
    ],
)
def test_rules_that_split_nothing_are_reported_with_the_names_of_the_leaves(tree, words):
    with pytest.warns(UserWarning, match=words):
        sharding.state_shardings(tree, sharding.make_mesh(model=2))
    sharding.state_shardings(tree, sharding.make_mesh(data=1))  # nothing to split: no warning


def test_blocks_in_a_list_have_the_rules_of_stacked_ones():
    mesh = sharding.make_mesh(model=2)
    assert sharding.spec_of("blocks/0/ffn/up/kernel", (8, 16), mesh) == PartitionSpec(None, "model")
    assert sharding.spec_of("blocks/1/attention/query/bias", (8,), mesh) == PartitionSpec("model")
    assert sharding.spec_of("blocks/1/attention/out/kernel", (8, 8), mesh) == PartitionSpec("model")


def test_weights_do_not_depend_on_the_mesh():
    sharded = init_state(tiny.build, Optimizer(), 10, sharding.make_mesh(model=2), seed=3)[1]
    single_device = init_state(tiny.build, Optimizer(), 10, sharding.make_mesh(data=1), seed=3)[1]
    eager = nnx.to_pure_dict(nnx.state(tiny.Tiny(rngs=nnx.Rngs(jax.random.key(3)))))
    for a, b, c in zip(*map(jax.tree.leaves, (sharded.params, single_device.params, eager)), strict=True):
        np.testing.assert_array_equal(a, b)
        # The initializer of `init_state` is compiled, this one is eager: the last bit of erfinv may differ.
        np.testing.assert_allclose(a, c, rtol=1e-6, atol=1e-7)


def test_batch_is_split_over_data_and_keeps_its_rows():
    mesh = sharding.make_mesh(model=2)
    local = tiny.batch_of(0)
    batch = sharding.put_batch(local, mesh)
    assert batch["tokens"].sharding == sharding.batch_sharding(mesh)
    assert batch["tokens"].addressable_shards[0].data.shape == (4, tiny.TOKENS)
    for name, rows in local.items():
        np.testing.assert_array_equal(batch[name], rows)
    assert jnp.issubdtype(batch["labels"].dtype, jnp.integer)


def test_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"got 6 rows on data=8 \(tokens\); change the batch size"):
        sharding.put_batch({"tokens": np.zeros((6, 2), np.int32)}, sharding.make_mesh())


def test_name_of_an_earlier_release_is_served_with_a_warning():
    mesh = sharding.make_mesh(data=1)
    with pytest.warns(DeprecationWarning, match="sharding.replicated is now sharding.replicated_sharding"):
        assert sharding.replicated(mesh) == sharding.replicated_sharding(mesh)
    with pytest.raises(AttributeError, match="no attribute 'scattered'"):
        sharding.scattered  # noqa: B018
