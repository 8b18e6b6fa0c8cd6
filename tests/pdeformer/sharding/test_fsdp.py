"""Weights and moments that are split over "data" as well: placement, memory, the same numbers, checkpoints."""

from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from pdeformer import sharding
from pdeformer.train import Optimizer, init_state, make_init
from tests.helpers import tiny
from tests.helpers.tiny_program import Config, Mesh, main


@pytest.mark.parametrize(
    ("name", "shape", "spec"),
    [
        ("blocks/attention/query/kernel", (2, 8, 8), (None, "data", "model")),
        ("blocks/attention/out/kernel", (2, 8, 8), (None, "model", "data")),
        ("blocks/0/ffn/up/kernel", (8, 16), ("data", "model")),
        ("opt_state/0/mu/blocks/ffn/up/kernel", (2, 8, 16), (None, "data", "model")),
        ("embed/token/embedding", (12, 8), ("data", "model")),
        ("embed/token/embedding", (13, 8), (None, ("model", "data"))),
        ("head/kernel", (8, 3), ("data", None)),
        ("hidden/kernel", (8, 16), (None, "data")),
        ("blocks/custom/kernel", (4, 3, 5), ()),  # the axis of the layers is never split
        ("blocks/ffn/up/bias", (2, 16), (None, "model")),
        ("blocks/norm/scale", (2, 8), ()),
    ],
)
def test_matrices_are_split_over_data_beside_their_rule(name, shape, spec):
    mesh = sharding.make_mesh(data=4, model=2)
    assert sharding.spec_of(name, shape, mesh, fsdp=True) == PartitionSpec(*spec)


def test_without_a_data_axis_nothing_more_is_split():
    mesh = jax.make_mesh(
        (2,), ("model",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]
    )
    assert sharding.spec_of("head/kernel", (8, 4), mesh, fsdp=True) == PartitionSpec(None, "model")


def bytes_of_device(mesh, *, fsdp):
    """Bytes of the state on one device, ahead of time, of a model of the size that is usual in tests of memory."""
    _, init, shardings = make_init(tiny.build, Optimizer(), 10, mesh, fsdp=fsdp)
    state = jax.eval_shape(init, jax.random.key(0))
    sizes = jax.tree.map(
        lambda x, s: np.prod(s.shard_shape(x.shape), dtype=int) * x.dtype.itemsize, state, shardings
    )
    matrices = jax.tree.map(lambda x: x.ndim >= 2 and x.shape[-2] > tiny.LAYERS, state)
    return [
        sum(
            size
            for size, matrix in zip(*map(jax.tree.leaves, (sizes, matrices)), strict=True)
            if matrix == kind
        )
        for kind in (True, False)
    ]


def test_the_matrices_of_a_state_take_their_share_of_memory_and_the_rest_stays():
    mesh = sharding.make_mesh(data=4)
    (split, rest), (whole, other) = (bytes_of_device(mesh, fsdp=fsdp) for fsdp in (True, False))
    assert split * 4 == whole
    assert rest == other


def test_weights_are_the_same_numbers():
    mesh = sharding.make_mesh(data=4, model=2)
    split, whole = (
        init_state(tiny.build, Optimizer(), 10, mesh, seed=3, fsdp=fsdp)[1] for fsdp in (True, False)
    )
    for a, b in zip(jax.tree.leaves(split), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    up = split.opt_state[0].mu["blocks"]["ffn"]["up"]["kernel"]
    assert up.addressable_shards[0].data.shape == (tiny.LAYERS, tiny.CHANNELS // 4, tiny.CHANNELS)


@pytest.mark.parametrize("fsdp", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_checkpoints_go_over_to_the_other_placement(fsdp, tmp_path):
    mesh: Any = {"data": 2, "model": 2}
    (whole,) = main(Config(out=tmp_path / "whole", mesh=Mesh(**mesh), steps=6))
    with pytest.raises(InterruptedError):
        main(Config(out=tmp_path / "run", mesh=Mesh(**mesh, fsdp=fsdp), steps=6), spy=stop_at(4))
    (resumed,) = main(Config(out=tmp_path / "run", mesh=Mesh(**mesh, fsdp=not fsdp), steps=6, resume=True))
    assert resumed.test_loss == pytest.approx(whole.test_loss, rel=1e-5)


def stop_at(step):
    """Return a spy that stops the program before the batch of a step."""

    def spy(index):
        if index == step:
            raise InterruptedError

    return spy
