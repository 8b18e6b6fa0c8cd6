"""Compile cases in processes of their own, a few at a time."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from experiments.aot.cases.case import Case
from experiments.aot.compiler.environment import environment
from experiments.aot.targets import TARGETS

Row = dict[str, Any]
MODULE = "experiments.aot.compiler"
ROOT = Path(__file__).resolve().parents[2]


class Pool:
    """Context manager around a few processes. Leaving it ends those that still run.

    Args:
        jobs: processes at a time.
        timeout: seconds of one process.
    """

    def __init__(self, jobs: int, timeout: int) -> None:
        """Take the options; nothing starts yet."""
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(jobs)
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock, self._is_closed = threading.Lock(), False

    def __enter__(self) -> "Pool":
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes that still run."""
        with self._lock:
            self._is_closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, cases: Iterable[Case]) -> dict[str, "Future[Row]"]:
        """Return the future row of every case by its name; they start in this order."""
        return {case.name: self._threads.submit(self._compile, case) for case in cases}

    def _compile(self, case: Case) -> Row:
        """Compile one case in a process. A failure is a row, too."""
        platform, start = TARGETS[case.target].platform, time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "row.json")
            dump = Path(folder, "schedule") if platform == "tpu" else None
            if dump is not None:
                dump.mkdir()
            words = [sys.executable, "-m", MODULE, case.name, str(file), *([str(dump)] if dump else [])]
            code, error = self._run(words, environment(platform, str(dump) if dump else None))
            row = json.loads(file.read_text()) if file.exists() else failure(code, error, self._timeout)
        return {"seconds": time.perf_counter() - start, **row}

    def _run(self, words: list[str], variables: dict[str, str]) -> tuple[int | None, str]:
        """Return exit code and standard error of a process; None if it ran past its time."""
        with self._lock:
            if self._is_closed:
                return 0, ""
            process = subprocess.Popen(
                words, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._processes.add(process)
        try:
            _, error = process.communicate(timeout=self._timeout)
            return process.returncode, error
        except subprocess.TimeoutExpired:
            process.kill()
            return None, process.communicate()[1]
        finally:
            with self._lock:
                self._processes.discard(process)


def failure(code: int | None, error: str, timeout: int) -> Row:
    """Return the row of a process that has written none."""
    if code is None:
        return {"status": "failed", "reason": f"no end within {timeout} s; raise --timeout"}
    lines = [line for line in error.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "no message"
    kind = f"the compiler ended its process by signal {-code}" if code < 0 else f"exit code {code}"
    return {"status": "failed", "reason": f"{kind}: {last[:300]}"}
