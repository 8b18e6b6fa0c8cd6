"""The lock of a run folder: a second process is refused with the name of the first, and a kill leaves no lock."""

import dataclasses
import errno
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments import claims, lra, pid_gaussian, pid_llava, run
from experiments.bench import program as bench
from experiments.bench.config import Config as BenchConfig
from experiments.pid_llava import result_cache
from experiments.pid_llava.toy import toy_training
from experiments.run.folder import folder_lock
from experiments.run.folder.folder_lock import FolderLock
from tests.helpers.tiny_program import Config, main

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from experiments.run.folder.folder_lock import FolderLock

lock = FolderLock(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""

CREATOR = """
import sys, time
from pathlib import Path
from experiments import run
from tests.helpers.tiny_program import Config

folder, go = map(Path, sys.argv[1:])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
try:
    with run.open_run(folder, Config(out=folder)):
        time.sleep(3)
        print("opened")
except FileExistsError as error:
    print("refused", error)
"""


@pytest.fixture(autouse=True)
def without_patience(monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0)


def open_tiny(folder, *, resume=False):
    return run.open_run(folder, Config(out=folder), resume=resume)


def files(folder):
    return {path.name for path in folder.iterdir()}


def start(code, *arguments):
    """Start Python code in a process, and wait for its first line."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_second_process_is_refused_in_20_of_20_tries_and_a_kill_frees_the_folder(tmp_path):
    open_tiny(tmp_path).close()
    with start(HOLDER, tmp_path) as holder:
        host = re.escape(platform.node())
        words = rf"in use by pid {holder.pid} on host {host} since 20\d\d-\S+; wait for it"
        for attempt in range(20):
            with pytest.raises(FileExistsError, match=words):
                open_tiny(tmp_path, resume=attempt % 2 == 0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert "lock" in files(tmp_path)  # a kill leaves the file, which does no harm
    with open_tiny(tmp_path, resume=True):
        pass
    assert files(tmp_path) == {"config.json", "versions.json"}


def test_one_of_two_that_create_a_folder_at_the_same_moment_gets_it(tmp_path):
    go = tmp_path / "go"
    creators = [start(CREATOR, tmp_path / "run", go) for _ in range(2)]
    go.touch()
    outputs = sorted(creator.communicate(timeout=60)[0] for creator in creators)
    assert [output.split()[0] for output in outputs] == ["opened", "refused"]


def test_lock_is_released_when_a_run_returns_and_when_it_raises(tmp_path):
    config = Config(out=tmp_path / "run", steps=2)
    main(config)
    assert "lock" not in files(config.out)
    with pytest.raises(FileExistsError, match="which has files; use --resume"):
        main(config)
    assert "lock" not in files(config.out)

    def spy(step):
        assert "lock" in files(tmp_path / "other")
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    other = dataclasses.replace(config, out=tmp_path / "other")
    with pytest.raises(run.Preempted):
        main(other, spy=spy)
    assert "lock" not in files(other.out)
    main(dataclasses.replace(other, resume=True))


def test_run_that_was_never_closed_does_not_block_its_own_process(tmp_path):
    first = open_tiny(tmp_path)
    second = open_tiny(tmp_path, resume=True)
    first.close()  # a second release does nothing
    with second, pytest.raises(FileExistsError, match=f"in use by pid {os.getpid()} on host"):
        open_tiny(tmp_path, resume=True)


def test_folder_of_somebody_else_gets_no_lock_file(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="which has files"):
        open_tiny(tmp_path)
    with pytest.raises(ValueError, match=r"without config\.json"):
        open_tiny(tmp_path, resume=True)
    assert files(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_named_and_the_run_goes_on(tmp_path, monkeypatch, capsys, number):
    def acquire(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.FileLock, "acquire", acquire)
    with open_tiny(tmp_path):
        assert (tmp_path / "config.json").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path} is on a file system without locks")


PROGRAMS = {
    "lra": (lra.main, lra.Config()),
    "claims": (claims.main, claims.Config()),
    "pid_gaussian": (pid_gaussian.main, pid_gaussian.Config()),
    "pid_llava": (pid_llava.main, pid_llava.PRESETS["toy"][1]),
    "pid_llava --train": (toy_training.train, toy_training.Train()),
    "bench": (bench.main, BenchConfig()),
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_refuses_a_folder_in_use(tmp_path, name, resume):
    program, config = PROGRAMS[name]
    config = dataclasses.replace(config, out=tmp_path, resume=resume)
    (tmp_path / "config.json").write_text("{}")
    lock = FolderLock(tmp_path)
    lock.in_use = True
    with pytest.raises(
        FileExistsError, match=f"one process at a time, got {tmp_path}, which is in use by pid"
    ):
        program(config)
    lock.release()


def test_captures_of_two_runs_into_one_store_happen_one_after_the_other(tmp_path, capsys):
    entered, order = threading.Event(), []

    def second():
        entered.wait()
        with result_cache.one_run_at_a_time(tmp_path, "store"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with result_cache.one_run_at_a_time(tmp_path, "store"):
        entered.set()
        thread.join(timeout=0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "another run captures into" in capsys.readouterr().err
    assert list((tmp_path / "captures").iterdir()) == []
