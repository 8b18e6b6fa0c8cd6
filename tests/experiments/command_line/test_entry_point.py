"""The door of the programs: which errors are a sentence, which are a traceback, and the exit code of each."""

import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import lra
from experiments.run import Preempted, open_console
from experiments.run.distributed import Hosts
from pid.interface import extras
from pid.interface.command_options import check_ranges
from pid.interface.refusals import run_program
from pid.llava import MeshShape

ROOT = Path(__file__).resolve().parents[3]


def code_of(main, *arguments):
    """The exit code of a program whose main function is `main`."""
    with pytest.raises(SystemExit) as stopped:
        run_program(main, arguments)
    return stopped.value.code


def raises(error):
    """A main function that raises."""

    def main(words):
        raise error

    return main


def refuses(words):
    """A main function whose error comes from a `raise` statement of the package."""
    Hosts(index=1)


def test_a_refusal_is_its_sentence_and_code_2(capsys):
    assert code_of(refuses) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("processes need an address to join each other, got --hosts.count None")
    assert errors.count("\n") == 1


def test_traceback_shows_where_it_was_raised_before_the_same_sentence(capsys):
    received = []

    def main(words):
        received.extend(words)
        refuses(words)

    assert code_of(main, "a", "--traceback", "b") == 2
    errors = capsys.readouterr().err
    assert received == ["a", "b"]
    assert "Traceback (most recent call last)" in errors
    assert "distributed.py" in errors
    assert errors.splitlines()[-1].startswith("processes need an address")


def test_a_bug_keeps_its_traceback():
    def foreign(words):
        int("x")

    with pytest.raises(ValueError, match="invalid literal"):
        run_program(foreign, [])
    with pytest.raises(ValueError, match="outside of the package"):
        run_program(raises(ValueError("outside of the package")), [])
    with pytest.raises(TypeError):
        run_program(lambda words: check_ranges(MeshShape.abstract), [])
    with pytest.raises(KeyError):
        run_program(raises(KeyError("x")), [])


def test_a_value_that_the_package_cannot_convert_is_a_bug_even_though_its_frame_is_innermost(monkeypatch):
    """A ValueError from C code has the frame of its caller; only a `raise` statement refuses."""
    monkeypatch.setattr(extras, "find_spec", int)
    with pytest.raises(ValueError, match="invalid literal"):
        run_program(lambda words: extras.require_extra("x", "y", "z"), [])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/rows"), 1, "the disk is full (run/rows)"),
        (RuntimeError("INTERNAL: write: No space left on device"), 1, "the disk is full"),
        (
            ValueError('RESOURCE_EXHAUSTED: Error writing local file "/run/5": No space left on device'),
            1,
            "the disk is full (/run/5); free some space",
        ),
        (MemoryError(), 1, "more memory than there is"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"),
            1,
            "more memory than there is",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/runs"),
            2,
            "/runs: Permission denied; check that path",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_other_failures_are_a_sentence_too(error, code, words, capsys):
    assert code_of(raises(error)) == code
    assert words in capsys.readouterr().err


def test_a_signal_keeps_its_code_and_a_result_is_returned():
    assert code_of(raises(Preempted(15))) == 143
    assert run_program(len, ["a", "b", "--traceback"]) == 2


@pytest.mark.parametrize(("columns", "stays"), [("0", False), ("", False), ("70", True)])
def test_a_terminal_of_0_columns_shows_everything(columns, stays, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    run_program(lambda words: open_console().print("a result"), [])
    assert capsys.readouterr().out == "a result\n"
    assert ("COLUMNS" in os.environ) is stays


def test_version_is_printed_by_every_program(capsys):
    assert code_of(refuses, "--steps", "3", "--version") == 0
    assert capsys.readouterr().out.startswith("pdeformer ")


def launch(*command, **variables):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_platform_that_is_not_there_is_a_sentence(tmp_path):
    command = ("-m", "experiments.claims", "--out", str(tmp_path / "run"))
    process = launch(*command, JAX_PLATFORMS="cuda")
    sentences = [line for line in process.stderr.splitlines() if "JAX_PLATFORMS" in line]
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert sentences[-1].startswith("JAX needs a device of the platform in JAX_PLATFORMS, got 'cuda'")
    assert not (tmp_path / "run").exists()


def test_a_real_process_ends_with_the_sentence_and_code_2(tmp_path):
    process = launch("-m", "experiments.lra", "--out", str(tmp_path / "run"), "--steps", "0")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "--steps must be at least 1, got 0; write for example --steps 400.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(("words", "code"), [(["verfy"], 2), (["--version"], 1), (["--help"], 1)])
def test_the_code_stays_if_nobody_can_read_the_sentence(words, code):
    command, variables = [sys.executable, "-m", "pid.llava", *words], dict(os.environ)
    variables.pop("PYTHONUNBUFFERED", None)
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(command, cwd=ROOT, env=variables, stdout=full, stderr=full, check=False)
    assert process.returncode == code


def test_hosts_that_cannot_join_are_a_sentence(tmp_path):
    process = launch("-m", "experiments.lra", "--hosts.join", "--out", str(tmp_path / "run"))
    assert process.returncode == 2
    assert process.stderr == (
        "the processes must join each other, got coordinator_address should be defined; check --hosts.coordinator, "
        "--hosts.count and --hosts.index, or that --hosts.join runs on a cluster.\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_a_sentence_when_a_program_starts_and_an_error_in_a_session(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "orbax" else find(name))
    monkeypatch.setattr(sys, "argv", ["-m"])
    with pytest.raises(SystemExit) as stopped:
        extras.require_extra("llava", "pid.llava", "orbax")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "pid.llava needs the extra 'llava', got no module orbax; pip install 'pdeformer[llava]'.\n"
    )
    for arguments in (["session.py"], ["-m", "--traceback"]):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(ImportError, match="needs the extra 'llava'"):
            extras.require_extra("llava", "pid.llava", "orbax")


def test_the_order_is_command_line_run_folder_devices_main(tmp_path, monkeypatch):
    from experiments.run import entry_point

    steps = []
    monkeypatch.setattr(entry_point, "check_out", lambda **_: steps.append("folder"))
    monkeypatch.setattr(entry_point, "start_devices", lambda: steps.append("devices"))
    entry_point.run_program(lra.command_line, lambda config: steps.append(config.steps), ["--steps", "7"])
    assert steps == ["folder", "devices", 7]
    shared = [
        "--hosts.join",
        "--out",
        str(tmp_path),
    ]  # the first of several hosts checks the folder, once joined
    entry_point.run_program(lra.command_line, lambda config: steps.append("main"), shared)
    assert steps[3:] == ["main"]
