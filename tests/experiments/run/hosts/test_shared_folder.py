"""Hosts that do not share their run folder are refused at the start, and each says which process it is."""

import pytest

from tests.experiments.run.hosts.loopback import end_of, start_hosts


def refused(folders):
    """Start hosts with folders of their own; return what they print, and the seconds until all have ended."""
    outputs, codes, seconds = end_of(start_hosts(folders))
    assert codes == [2] * len(folders), outputs
    return outputs, seconds


@pytest.mark.slow
def test_two_hosts_with_folders_of_their_own_are_refused(tmp_path):
    for host in (0, 1):
        (tmp_path / f"disk{host}").mkdir()
    outputs, _ = refused([tmp_path / f"disk{host}" / "run" for host in (0, 1)])
    for host in (0, 1):
        assert (
            f"several hosts share one folder, got --out {tmp_path}/disk{host}/run, where process 1 of 2"
            in outputs[host]
        )
        assert "use a folder on a disk that all hosts mount" in outputs[host]
    assert [path for host in (0, 1) for path in (tmp_path / f"disk{host}").iterdir()] == []


@pytest.mark.exhaustive
def test_one_of_four_hosts_with_a_folder_of_its_own_is_named_within_seconds(tmp_path):
    """The hosts need at most 10 s more than they need to print their help."""
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
    folders = [tmp_path / ("own" if host == 2 else "shared") / "run" for host in range(4)]
    _, codes, start = end_of(start_hosts(folders, "--help"))
    assert codes == [0] * 4
    outputs, seconds = refused(folders)
    assert seconds < start + 10
    assert all("where process 2 of 4 does not see the files of process 0" in output for output in outputs)
