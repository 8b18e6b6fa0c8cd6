"""Hosts that do not share their run folder are refused at the start, and each says which process it is."""

import time

import pytest

from tests.experiments.run.hosts.loopback import end_of, start_hosts


def refused(count, folders):
    """Start hosts with folders of their own, and return what they print."""
    start = time.monotonic()
    hosts = start_hosts(folders)
    outputs, codes, _ = end_of(hosts)
    assert codes == [2] * count, outputs
    return outputs, time.monotonic() - start


@pytest.mark.slow
def test_two_hosts_with_folders_of_their_own_are_refused(tmp_path):
    for host in (0, 1):
        (tmp_path / f"disk{host}").mkdir()
    outputs, _ = refused(2, [tmp_path / f"disk{host}" / "run" for host in (0, 1)])
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
    outputs, _ = refused(4, folders)
    assert all("where process 2 of 4 does not see the files of process 0" in output for output in outputs)
