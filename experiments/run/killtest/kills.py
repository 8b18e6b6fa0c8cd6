"""Run a program without kills, then kill and resume it many times."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

from experiments.run.killtest.folder_comparison import compare
from pid.interface.command_options import POSITIONAL
from pid.interface.ranges import Seed

HARMLESS = ("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH")
"""Signals that do not end a process."""
OWN_OPTIONS = ("--out", "--resume", "--no-resume", "--help", "-h", "--version")
"""Options that the test adds itself, or that make a program print something and end."""


@dataclasses.dataclass(frozen=True)
class KillTest:
    """Kill a program at random moments, resume it, and compare its results with those of a run without kills.

    The arguments of the program stand after `--`. In them, {folder} stands for a folder that is new for each kill, so
    that `--data-dir {folder}/data` tests the preparation of the data too. The test adds --out and --resume.
    """

    program: Annotated[str, POSITIONAL]
    """A program such as lra, claims, pid_gaussian and pid_llava, or the full name of a module."""
    kills: int = 10
    """Number of kills."""
    signal: str = "KILL"
    """Signal, such as KILL or TERM, sent to all processes of the program."""
    seed: Seed = 0
    """Seed of the random moments."""
    folder: Path | None = None
    """Folder for all files; by default a temporary one. What differs is kept there, all else is deleted."""

    def __post_init__(self) -> None:
        """Raise ValueError for a number of kills below 1 and an unknown signal."""
        if self.kills < 1:
            raise ValueError(f"a test needs at least one kill, got {self.kills}; raise --kills.")
        if f"SIG{self.signal}" not in signal.Signals.__members__ or self.signal in HARMLESS:
            raise ValueError(
                f"the signal must be one that ends a process, such as KILL or TERM, got {self.signal}; change --signal."
            )
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"a kill test needs a folder, got the file {self.folder}; change --folder.")
        if self.folder is not None and self.folder.is_dir() and any(self.folder.iterdir()):
            raise FileExistsError(
                f"a kill test needs a folder of its own, in which it deletes what it has made, got {self.folder} which "
                f"has files; use another --folder."
            )


class Reference(NamedTuple):
    """A run without kills."""

    folder: Path
    first_file: float
    """Seconds until it has written anything."""
    seconds: float


def run_test(config: KillTest, arguments: Sequence[str]) -> bool:
    """Run the test, print one line for each kill, and return whether all results are equal to the bit."""
    check_module(module_of(config))
    check_arguments(arguments)
    parent = config.folder or Path(tempfile.mkdtemp(prefix="killtest-"))
    parent.mkdir(parents=True, exist_ok=True)
    reference = run_without_kills(config, arguments, parent.absolute() / "reference")
    print(
        f"{config.program} without kills: {reference.seconds:.1f} s, first file after {reference.first_file:.1f} s",
        flush=True,
    )
    moments, equal = random.Random(config.seed), 0
    for index in range(1, config.kills + 1):
        folder = parent.absolute() / f"kill-{index:03}"
        moment, state = kill_once(config, arguments, folder, reference, moments)
        differences = resume(config, arguments, folder) or compare(
            folder, reference.folder, same_checkpoints=config.signal == "KILL"
        )
        result = "equal to the bit" if not differences else f"NOT EQUAL, kept in {folder}"
        print(
            f"kill {index} of {config.kills}: SIG{config.signal} after {moment:.2f} s ({state}): {result}",
            flush=True,
        )
        for difference in differences:
            print(f"    {difference}", flush=True)
        equal += not differences
        if not differences:
            shutil.rmtree(folder)
    print(f"{equal} of {config.kills} equal to the bit", flush=True)
    if equal == config.kills:
        shutil.rmtree(reference.folder)
    if config.folder is None and not any(path.is_dir() for path in parent.iterdir()):
        shutil.rmtree(parent)
    return equal == config.kills


def run_without_kills(config: KillTest, arguments: Sequence[str], folder: Path) -> Reference:
    """Run the program to its end. Raises ValueError if it fails."""
    start = time.monotonic()
    process = launch(config, arguments, folder)
    first_file = wait_for_file(process, folder) - start
    code = end_of(process)
    if code:
        last = (log_of(folder).read_text(errors="replace").splitlines() or ["no output"])[-1]
        remedy = f"see {log_of(folder)}"
        if code == 2 and config.folder is None:  # the last line says all
            remedy = "change the arguments behind --"
            shutil.rmtree(folder.parent)
        raise ValueError(
            f"a kill test needs a program that ends without kills, got exit code {code} ({last}); {remedy}."
        )
    return Reference(folder, first_file, time.monotonic() - start)


def kill_once(
    config: KillTest, arguments: Sequence[str], folder: Path, reference: Reference, moments: random.Random
) -> tuple[float, str]:
    """Start the program and kill it at a random moment; return the moment and what was in the folder.

    If the program ends before the moment, it is started again in an empty folder and killed at another moment.
    """
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        process = launch(config, arguments, folder)
        wait_for_file(process, folder)
        time.sleep(moments.uniform(0.0, reference.seconds - reference.first_file))
        if process.poll() is None:
            os.killpg(process.pid, signal.Signals[f"SIG{config.signal}"])
            moment = time.monotonic() - start
            if end_of(process):
                return moment, describe(folder / "run")
    raise ValueError(
        f"a kill needs a program that runs for a while, got {reference.seconds:.1f} s, mostly its start; use arguments "
        f"with more work."
    )


def resume(config: KillTest, arguments: Sequence[str], folder: Path) -> list[str]:
    """Continue the program to its end. Returns what went wrong, with the last lines of its output."""
    begins = not (folder / "run" / "config.json").exists()
    code = end_of(launch(config, [*arguments, *([] if begins else ["--resume"])], folder))
    last = log_of(folder).read_text(errors="replace").splitlines()[-5:]
    return [f"the resumed program ended with exit code {code}", *last] if code else []


def module_of(config: KillTest) -> str:
    """Return the full name of the module of the program."""
    return config.program if "." in config.program else f"experiments.{config.program}"


def check_module(name: str) -> None:
    """Raise ValueError unless there is a module of this name."""
    try:
        spec = find_spec(name)
    except ImportError:  # of the package around it
        spec = None
    if spec is None:
        raise ValueError(f"a program is a module, got {name}, which does not exist; use for example lra.")


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise ValueError for an argument that the test adds itself, or with which the program does not run."""
    for word in arguments:
        if word.partition("=")[0] in OWN_OPTIONS:
            raise ValueError(
                f"the arguments of the program are those of a run, to which the test adds --out and --resume, got "
                f"{word}; drop it."
            )


def launch(config: KillTest, arguments: Sequence[str], folder: Path) -> subprocess.Popen:
    """Start the program in a process group of its own. Its output goes to a file beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    options = [word.replace("{folder}", str(folder)) for word in arguments]
    with log_of(folder).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module_of(config), *options, "--out", str(folder / "run")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_of(process: subprocess.Popen) -> int:
    """Wait for the end of the program and return its exit code. If the test itself is stopped, the program is too."""
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def log_of(folder: Path) -> Path:
    """Return the file with the output of the latest start."""
    return folder.with_suffix(".log")


def wait_for_file(process: subprocess.Popen, folder: Path) -> float:
    """Wait until the program has written anything into the folder, or has ended; return the time."""
    while process.poll() is None and not any(folder.iterdir()):
        time.sleep(0.01)
    return time.monotonic()


def describe(run: Path) -> str:
    """Return what a run folder, with those of its tasks, held when the program was killed."""
    if not (run / "config.json").exists():
        return "before the run folder"
    checkpoints = [path for path in run.rglob("checkpoints/*/*") if path.is_dir()]
    counts = {
        "logged steps": sum(path.read_bytes().count(b"\n") for path in run.rglob("metrics.jsonl")),
        "checkpoints": sum(path.name.isdecimal() for path in checkpoints),
        "incomplete checkpoints": sum("tmp" in path.name for path in checkpoints),
        "rows": len(list(run.rglob("rows/*.json"))),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "an empty run folder"
