"""One model on the devices of several hosts captures what one process captures."""

import os
import re
import socket
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from pid import llava
from pid.llava.activations.host_group import check_takes_all_hosts, from_first_host, replicated
from pid.llava.partitioning import MeshShape, spans_hosts
from tests.helpers import tiny_llava


class FakeDevice(NamedTuple):
    process_index: int


def sharding_of(*hosts):
    """The sharding of an array on devices of these processes."""

    class OnHosts(SingleDeviceSharding):
        @property
        def device_set(self) -> Any:
            return set(map(FakeDevice, hosts))

    return OnHosts(jax.devices()[0])


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("data", "model", "columns"), [(2, 4, 4), (1, 8, 2)])
def test_two_hosts_with_one_model_capture_what_one_process_captures(tmp_path, data, model, columns):
    """With data = 2 each host has half of the rows, with model = 8 half of the weights. The second call resumes."""
    llava.save(tiny_llava.model(), tmp_path / "checkpoint")
    arguments = [free_port(), data, model, tmp_path / "checkpoint", tmp_path / "together"]
    port, *others = map(str, arguments)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.llava.activations.capture_host", port, str(index), *others],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    for output in [process.communicate(timeout=400)[0] for process in processes]:
        assert f"shard (3, 16, {columns})" in output
        assert "rows 5" in output, output[-2000:]
    with tiny_llava.quick_programs():
        alone = tiny_llava.capture(tmp_path / "alone")
    joint = llava.Store.open(tmp_path / "together")
    assert joint.names == alone.names
    tiny_llava.assert_same_results(joint, alone)
    assert [path.name for path in (tmp_path / "together").glob("manifest-*")] == ["manifest-0000.jsonl"]


def test_a_mesh_takes_devices_of_one_host_or_all_of_all(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 16)
    MeshShape(data=2, model=8).check_devices()
    MeshShape(data=2, model=4).check_devices()
    with pytest.raises(
        ValueError, match="of one host, or all 16 of all hosts, got data=3, model=4 for 8 devices"
    ):
        MeshShape(data=3, model=4).check_devices()


def test_a_model_on_some_hosts_of_many_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert not spans_hosts(sharding_of(1, 1))
    check_takes_all_hosts(sharding_of(2))
    check_takes_all_hosts(sharding_of(0, 1, 2))
    with pytest.raises(ValueError, match=re.escape("got those of 2 of 3 processes")):
        check_takes_all_hosts(sharding_of(0, 2))


def test_one_host_alone_has_its_own_results_and_errors():
    assert from_first_host(lambda: [{"ä": 1}, []]) == [{"ä": 1}, []]
    with pytest.raises(ValueError, match="invalid literal"):
        from_first_host(lambda: int("one"))
    array = np.arange(3)
    assert replicated(SingleDeviceSharding(jax.devices()[0]))(array) is array
