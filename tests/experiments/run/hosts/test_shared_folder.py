"""Hosts that do not share their run folder are refused at the start, and each says which process it is."""

import subprocess
import sys

import pytest

from tests.experiments.run.hosts.loopback import ROOT, end_of, free_address, start_hosts


def refused(folders):
    """Start hosts with folders of their own, and return what they print."""
    outputs, codes, _ = end_of(start_hosts(folders))
    assert codes == [2] * len(folders), outputs
    return outputs


@pytest.mark.slow
def test_two_hosts_with_folders_of_their_own_are_refused(tmp_path):
    for host in (0, 1):
        (tmp_path / f"disk{host}").mkdir()
    outputs = refused([tmp_path / f"disk{host}" / "run" for host in (0, 1)])
    for host in (0, 1):
        assert (
            f"several hosts share one folder, got --out {tmp_path}/disk{host}/run, where process 1 of 2"
            in outputs[host]
        )
        assert "use a folder on a disk that all hosts mount" in outputs[host]
    assert [path for host in (0, 1) for path in (tmp_path / f"disk{host}").iterdir()] == []


@pytest.mark.exhaustive
def test_one_of_four_hosts_with_a_folder_of_its_own_is_named(tmp_path):
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
    folders = [tmp_path / ("own" if host == 2 else "shared") / "run" for host in range(4)]
    outputs = refused(folders)
    assert all("where process 2 of 4 does not see the files of process 0" in output for output in outputs)


JOIN = """
import sys, time
from pathlib import Path
from experiments import run
from experiments.run.distributed import check_shared
address, host, shared, own = sys.argv[1:]
run.join_hosts(run.Hosts(coordinator=address, count=2, index=int(host)), Path(shared))
start = time.monotonic()
try:
    check_shared("--data-dir", Path(own))
except ValueError as error:
    assert "got --data-dir" in str(error)
    print(time.monotonic() - start)
"""


@pytest.mark.exhaustive
def test_joined_hosts_are_refused_within_ten_seconds(tmp_path):
    address, hosts = free_address(), []
    for host in (0, 1):
        (tmp_path / f"disk{host}").mkdir()
        words = [sys.executable, "-c", JOIN, address, str(host), tmp_path, tmp_path / f"disk{host}"]
        hosts.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    outputs, codes, _ = end_of(hosts)
    assert codes == [0, 0]
    assert max(float(output.split()[-1]) for output in outputs) < 10
