"""Two real hosts of four devices: on every mesh, the batch is that of one host."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pdeformer import sharding

ROOT = Path(__file__).resolve().parents[3]


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def results():
    """For each of two hosts: what it has checked, by name."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "tests.pdeformer.sharding.two_hosts", free_address()]
    hosts = [
        subprocess.Popen(
            [*command, str(host)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for host in (0, 1)
    ]
    outputs = [host.communicate(timeout=120) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def test_two_hosts_have_the_batch_of_one_on_every_mesh(results):
    for result in results:
        batches = {name: right for name, right in result.items() if "without" not in name}
        assert len(batches) == 40
        assert not [name for name, right in batches.items() if not right]


def test_hosts_that_share_rows_must_say_how_many_rows_there_are(results):
    """Halves by the index of the host are right on a mesh whose first half of "data" is the first host's."""
    for result in results:
        accepted = {
            name.removesuffix(" without rows")
            for name, right in result.items()
            if right and "without" in name
        }
        data_first = {
            f"host by host {shape}" for shape in ("(2, 1, 4)", "(2, 2, 2)", "(2, 4, 1)", "(4, 1, 2)")
        }
        assert accepted == data_first | {f"host by host {shape}" for shape in ("(4, 2, 1)", "(8, 1, 1)")}


def test_rows_of_another_number_are_refused():
    mesh = sharding.make_mesh(data=2)
    with pytest.raises(
        ValueError, match=r"prepares the 6 rows host_rows\(6, mesh\) of a batch of 6, got 4 \(tokens\)"
    ):
        sharding.put_batch({"tokens": np.zeros((4, 2), np.int32)}, mesh, rows=6)
    with pytest.raises(ValueError, match="got 5 rows on data=2"):
        sharding.host_rows(5, mesh)
