"""When one of several hosts ends, the others end at once with a sentence."""

import signal

import pytest

from tests.experiments.run.hosts.loopback import end_of, start_hosts, wait_for_step
from tests.helpers.tiny_program import Config, main


def kill_one(count, victim, folder):
    """Kill a host during the training, and check how the others end."""
    hosts = start_hosts([folder] * count, "--steps", "50", "--pause", "0.5")
    wait_for_step(folder, 4, hosts)
    hosts[victim].send_signal(signal.SIGKILL)
    outputs, codes, seconds = end_of(hosts)
    for host in set(range(count)) - {victim}:
        assert codes[host] == 1, outputs[host]
        sentence = (
            f"host {victim} of {count} has ended before the others, so host {host} ends too; start all of them again "
            f"with --resume to go on from the last checkpoint"
        )
        assert (
            sentence in outputs[host].splitlines()
        )  # JAX's own threads may log that they have lost a peer, too
        assert "Traceback" not in outputs[host]
    assert seconds < 10


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_killed_host_is_named_at_once_by_the_other(victim, tmp_path):
    kill_one(2, victim, tmp_path / "run")
    assert main(Config(out=tmp_path / "run", resume=True, steps=50, pause=0.0))


@pytest.mark.exhaustive
@pytest.mark.parametrize("victim", [0, 1, 3])
def test_killed_host_is_named_by_three_others(victim, tmp_path):
    kill_one(4, victim, tmp_path / "run")


@pytest.mark.slow
def test_signal_to_one_host_stops_both_after_the_same_step(tmp_path):
    hosts = start_hosts([tmp_path / "run"] * 2, "--steps", "50", "--pause", "0.5")
    wait_for_step(tmp_path / "run", 4, hosts)
    hosts[1].send_signal(signal.SIGUSR1)
    outputs, codes, _ = end_of(hosts)
    assert codes == [128 + signal.SIGUSR1] * 2, outputs
    assert "is saved; continue with --resume" in outputs[0]
    assert "has ended before" not in "".join(outputs)
    for host, output in enumerate(outputs):
        assert f"process {host} of 2, 2 devices, mesh data=2 seq=1 model=1" in output.splitlines()
