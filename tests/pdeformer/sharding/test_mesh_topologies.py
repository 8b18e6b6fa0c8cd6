"""Meshes on the topologies of pods: every device once, slices apart, and each host with the rows of its devices."""

import itertools
import re
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from pdeformer import sharding
from pdeformer.sharding.mesh import mesh_of_devices
from tests.pdeformer.sharding.topologies import Chip, chips, tpu_topology

TOPOLOGIES = [
    *(("v5e:2x2", 1), ("v5e:4x4", 1), ("v5e:4x8", 1), ("v5e:8x8", 1), ("v5e:16x16", 1), ("v6e:4x4", 1)),
    *(("v6e:8x8", 1), ("v6e:16x16", 1), ("v5p:2x2x2", 1), ("v5p:2x4x4", 1), ("v5p:4x4x4", 1)),
    *(("v5e:4x4", 2), ("v5e:4x4", 3), ("v6e:4x4", 2), ("v5p:2x2x2", 4)),
]


def sizes_of(devices):
    """Every (model, seq) of powers of two on a pod, a few on a large one."""
    powers = [2**k for k in range(9)] if devices <= 64 else [1, 2, 8, 32, 256]
    return [(model, seq) for model, seq in itertools.product(powers, powers) if devices % (model * seq) == 0]


def check_topology(devices):
    """Check every mesh of these devices."""
    hosts = sorted({device.process_index for device in devices})
    for model, seq in sizes_of(len(devices)):
        mesh = mesh_of_devices(devices, -1, model, seq)
        assert mesh.devices.shape == (len(devices) // (model * seq), seq, model)
        assert sorted(d.id for d in mesh.devices.flat) == sorted(d.id for d in devices)
        rows = 2 * mesh.shape["data"]
        for host in hosts:
            own = [i for i, group in enumerate(mesh.devices) if host in {d.process_index for d in group.flat}]
            expected = [row for i in own for row in (2 * i, 2 * i + 1)]
            assert sharding.host_rows(rows, mesh, host=host).tolist() == expected


@pytest.mark.parametrize(("name", "slices"), TOPOLOGIES)
def test_every_size_of_a_pod_has_a_mesh_and_its_hosts_have_the_rows_of_their_devices(name, slices):
    check_topology(chips(name, slices))


@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.parametrize(("name", "slices"), TOPOLOGIES)
def test_the_topologies_of_libtpu_have_the_meshes_of_the_stand_ins(name, slices, monkeypatch):
    for variable in ("TPU_SKIP_MDS_QUERY", "ALLOW_MULTIPLE_LIBTPU_LOAD"):
        monkeypatch.setenv(variable, "1")
    devices, stand_ins = tpu_topology(name, slices), chips(name, slices)
    check_topology(devices)
    places = [
        [
            (getattr(d, "slice_index", 0), *d.coords, d.process_index)
            for d in mesh_of_devices(some, -1, 2).devices.flat
        ]
        for some in (devices, stand_ins)
    ]
    assert places[0] == places[1]


def test_rows_that_span_hosts_belong_to_each_of_them():
    """A v5e-16 of four hosts, whose rings of four chips lie on two hosts each."""
    mesh = mesh_of_devices(chips("v5e:4x4"), model=4)
    assert [sorted({d.process_index for d in row.flat}) for row in mesh.devices] == [[0, 1]] * 2 + [
        [2, 3]
    ] * 2
    assert [sharding.host_rows(8, mesh, host=host).tolist() for host in range(4)] == [[0, 1, 2, 3]] * 2 + [
        [4, 5, 6, 7]
    ] * 2


@pytest.mark.parametrize(
    ("sizes", "between"), [((4, 2), (4, 1, 1)), ((8, 2), (2, 2, 1)), ((16, 2), (1, 2, 2))]
)
def test_slices_are_joined_over_data_first(sizes, between):
    """`between` counts the slices along data, seq and model."""
    model, seq = sizes
    mesh = mesh_of_devices(chips("v5p:2x2x2", slices=4), model=model, seq=seq)
    slices = np.vectorize(lambda d: d.slice_index, otypes=[int])(mesh.devices)
    assert tuple(np.unique(slices, axis=axis).shape[axis] for axis in range(3)) == between


def test_links_of_the_torus_join_neighbors_along_model():
    mesh = mesh_of_devices(chips("v6e:4x4"), model=4)
    for ring in mesh.devices.reshape(-1, 4):
        steps = [np.abs(np.subtract(a.coords, b.coords)).sum() for a, b in itertools.pairwise(ring)]
        assert steps == [1, 1, 1]


@pytest.mark.parametrize(
    ("devices", "sizes", "words"),
    [
        (chips("v5e:4x4"), {"model": 3}, "16 devices and 3"),
        (chips("v5e:4x4"), {"data": 2, "model": 4}, "on several hosts must have all of them, got 8 of 16"),
        (chips("v5e:4x4", slices=2)[:-4], {"model": 4}, "slices of equal size, got {0: 16, 1: 12}"),
        (chips("v5e:2x2"), {"data": 3}, "must fit the network of its devices"),
        ([Chip(i, 0, (0, 0, 0), 0, "TPU v4", i) for i in range(2)], {}, "one device per chip"),
    ],
)
def test_devices_that_cannot_be_laid_out_are_refused(devices, sizes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        mesh_of_devices(devices, **sizes)


def test_devices_without_a_torus_stand_in_their_order():
    assert sharding.make_mesh(model=4).devices.ravel().tolist() == jax.devices()
