"""When one of several hosts ends, the others end at once with a sentence."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.tiny_program import Config, main

ROOT = Path(__file__).resolve().parents[3]


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start_hosts(folder, *options):
    """Start two hosts of the tiny program."""
    # Only the first host writes the compile cache, so the second one compiles everything, without optimizations.
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    command = [sys.executable, "-m", "tests.helpers.tiny_program", "--out", str(folder), "--mesh.data", "2"]
    command += ["--coordinator", free_address(), "--pause", "0.2", *options]
    return [
        subprocess.Popen(
            [*command, "--host", str(host)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for host in (0, 1)
    ]


def wait_for_step(folder, step, hosts):
    deadline = time.monotonic() + 120
    while (
        not (folder / "metrics.jsonl").exists()
        or f'"step": {step},' not in (folder / "metrics.jsonl").read_text()
    ):
        assert all(host.poll() is None for host in hosts), [host.communicate()[0] for host in hosts]
        assert time.monotonic() < deadline, "the program took too long"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_host_is_named_at_once_by_the_other(victim, tmp_path):
    hosts = start_hosts(tmp_path / "run", "--steps", "200")
    wait_for_step(tmp_path / "run", 4, hosts)
    hosts[victim].send_signal(signal.SIGKILL)
    start = time.monotonic()
    output, _ = hosts[1 - victim].communicate(timeout=60)
    seconds = time.monotonic() - start
    hosts[victim].communicate()
    assert hosts[1 - victim].returncode == 1
    sentence = (
        f"host {victim} of 2 has ended before the others, so host {1 - victim} ends too; start all of them again with "
        f"--resume to go on from the last checkpoint"
    )
    assert sentence in output.splitlines()  # JAX's own threads may log that they have lost a peer, too
    assert "Traceback" not in output
    assert seconds < 10
    assert main(Config(out=tmp_path / "run", resume=True, steps=200, pause=0.0))


@pytest.mark.slow
def test_signal_to_one_host_stops_both_after_the_same_step(tmp_path):
    hosts = start_hosts(tmp_path / "run", "--steps", "200")
    wait_for_step(tmp_path / "run", 4, hosts)
    hosts[1].send_signal(signal.SIGUSR1)
    outputs = [host.communicate(timeout=60)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [128 + signal.SIGUSR1] * 2, outputs
    assert "is saved; continue with --resume" in outputs[0]
    assert "has ended before" not in "".join(outputs)
