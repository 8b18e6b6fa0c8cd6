"""Several hosts on one machine, joined by loopback: those of the tiny program, and others."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def free_address():
    """Return an address that no process uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start_hosts(folders, *options):
    """Start one host of the tiny program for each run folder; usually they are the same."""
    count = len(folders)
    shared = ["--mesh.data", str(count), *options]
    shared += ["--coordinator", free_address(), "--count", str(count)] if count > 1 else []
    words = [["--out", str(folder), "--host", str(host), *shared] for host, folder in enumerate(folders)]
    return start_modules("tests.helpers.tiny_program", words)


def start_modules(module, words_of_hosts, *, devices=1):
    """Start a module once for each list of words, each process with so many devices."""
    # Only the first host writes the compile cache, so the others compile everything, without optimizations.
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words in words_of_hosts
    ]


def wait_for(condition, hosts):
    """Wait until a condition holds; the hosts must go on meanwhile."""
    deadline = time.monotonic() + 120
    while not condition():
        assert all(host.poll() is None for host in hosts), [host.communicate()[0] for host in hosts]
        assert time.monotonic() < deadline, "the program took too long"
        time.sleep(0.05)


def wait_for_step(folder, step, hosts):
    """Wait until a step is logged."""
    metrics = folder / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and f'"step": {step},' in metrics.read_text(), hosts)


def end_of(hosts, timeout=60.0):
    """Return outputs and exit codes of all hosts, and the seconds until the last one has ended."""
    start = time.monotonic()
    try:
        outputs = [host.communicate(timeout=timeout)[0] for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    return outputs, [host.returncode for host in hosts], time.monotonic() - start
