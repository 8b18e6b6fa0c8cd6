"""Errors of users against errors of the program, and the exit codes of both.

    2               the command line, a file or a folder is refused; nothing was computed
    1               the run failed: a loss is not finite, memory or disk are full, or there is a bug
    128 + signal    a signal stopped the program

A refusal is an exception that a `raise` statement of these packages raised, of a type in `REFUSALS`, or an OSError with
the name of a file. Its sentence is printed alone. Everything else is a bug and has its traceback.
"""

import contextlib
import dis
import errno
import importlib.metadata
import os
import platform
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pid

ROOTS = tuple(Path(__file__).resolve().parents[2] / name for name in ("pdeformer", "pid", "experiments"))
REFUSALS = (ValueError, OSError, ImportError, RuntimeError)
"""Types of exceptions by which these packages refuse something."""
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
OPTION = "--traceback"
SIZES_OF_TERMINAL = ("COLUMNS", "LINES")
"""Variables of the environment with the size of the terminal, which is 0 if nobody knows it."""


def run_program(main: Callable[[list[str]], Any], arguments: Sequence[str]) -> Any:
    """Call `main` with the arguments and return its result; an error of the user ends the process with a sentence.

    Args:
        main: takes the arguments without --traceback.
        arguments: the arguments of the process.

    Raises:
        SystemExit: the exception was no bug; the code is that of the table above.
    """
    words = [word for word in arguments if word != OPTION]
    for name in SIZES_OF_TERMINAL:
        if not os.environ.get(name, "").strip("0"):  # rich would print nothing on 0 columns
            os.environ.pop(name, None)
    try:
        with _flushed_output():
            if "--version" in words:
                print(version_text())
                raise SystemExit(0)
            return main(words)
    except KeyboardInterrupt as error:
        _end(error, 128 + signal.SIGINT, "interrupted.", arguments)
    except BrokenPipeError as error:
        _discard(sys.stdout)
        _end(error, 128 + signal.SIGPIPE, "the output was closed before the program had ended.", arguments)
    except Exception as error:
        code, sentence = explain(error)
        if not sentence:
            raise
        _end(error, code, sentence, arguments)


def _end(error: BaseException, code: int, sentence: str, arguments: Sequence[str]) -> NoReturn:
    if isinstance(error, OSError) and error.errno in DISK_FULL and error.filename is None:
        _discard(sys.stdout)  # it may be the output that is full
    try:
        if OPTION in arguments:
            traceback.print_exception(error)
        print(sentence, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody can read it, and the code says enough
        _discard(sys.stderr)
    raise SystemExit(code) from None


@contextlib.contextmanager
def _flushed_output() -> Iterator[None]:
    """Flush standard output at the end of the block, so that its failure is an error like any other."""
    try:
        yield
    except SystemExit:
        _flush(sys.stdout)
        raise
    _flush(sys.stdout)


def _flush(stream: Any) -> None:
    if stream is not None and not stream.closed:
        stream.flush()


def _discard(stream: Any) -> None:
    """Point a standard stream that fails to nowhere, or Python would flush it at its end and change the code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def explain(error: BaseException) -> tuple[int, str]:
    """Return exit code and sentence of an exception; the sentence is empty for a bug."""
    if isinstance(error, FloatingPointError) and is_raised_by_us(error):
        return 1, _one_line(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL or "No space left on device" in str(error):
        return 1, f"the disk is full ({_place(error)}); free some space and go on with --resume."
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return (
            1,
            "the program needs more memory than there is; lower the batch or the sizes, which --help lists.",
        )
    if is_platform_error(error):
        return 2, platform_sentence()
    if isinstance(error, REFUSALS) and is_raised_by_us(error):
        return 2, _one_line(error)
    if isinstance(error, OSError) and error.filename is not None:
        return 2, f"{_place(error)}: {error.strerror}; check that path and who may read and write it."
    return 1, ""


def is_raised_by_us(error: BaseException) -> bool:
    """Return whether a `raise` statement of these packages raised the exception."""
    last = _frames(error)[-1:]
    if not last or not _is_ours(last[0]):
        return False
    code = last[0].tb_frame.f_code
    instruction = code.co_code[last[0].tb_lasti]
    return dis.opname[instruction] == "RAISE_VARARGS"


def is_platform_error(error: BaseException) -> bool:
    """Return whether JAX has found no device of the platform that was asked for."""
    last = _frames(error)[-1:]
    return bool(last) and last[0].tb_frame.f_code.co_filename.endswith("xla_bridge.py")


def platform_sentence() -> str:
    """Return the sentence for a platform that is not there."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return (
        f"JAX needs a device of the platform in JAX_PLATFORMS, got {platforms!r} and no such device (cpu is always "
        f"there); unset JAX_PLATFORMS, or install JAX for that platform, for example pip install 'jax[cuda12]'."
    )


def version_text() -> str:
    """Return the versions that a report needs."""
    names = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax", "numpy"))
    return f"pdeformer {pid.__version__} ({names}, Python {platform.python_version()})"


def _frames(error: BaseException) -> list[TracebackType]:
    frames, entry = [], error.__traceback__
    while entry is not None:
        frames.append(entry)
        entry = entry.tb_next
    return frames


def _is_ours(entry: TracebackType) -> bool:
    file = Path(entry.tb_frame.f_code.co_filename).resolve()
    return any(file.is_relative_to(root) for root in ROOTS)


def _place(error: BaseException) -> str:
    """Return the file of an error: its own, or the first quoted path of a library's text, or the text."""
    text = _one_line(error)
    quoted = re.search(r'"(/[^"]+)"', text)
    return str(getattr(error, "filename", None) or (quoted and quoted.group(1)) or text[:200])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
