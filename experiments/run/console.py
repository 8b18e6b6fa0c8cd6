"""Output that never decides over a run: standard output and standard error as streams that do not raise.

A write that fails (a closed pipe, a full disk, a terminal that went away) is recorded, and the stream shows nothing
from then on. The training loop reads the record with `failure_code` and saves and stops, as for a signal. Characters
that the encoding of a stream lacks are replaced, so that "±" is "+-" on an ASCII terminal.
"""

import os
import shutil
import signal
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import jax
from rich.console import Console

from experiments.run.distributed import is_first
from experiments.run.termination.preemption import DISPLAY_FAILURE, Preempted

REPLACEMENTS = str.maketrans(
    {"±": "+-", "→": "->", "←": "<-", "−": "-", "–": "-", "—": "-", "…": "...", "·": "*", "×": "x", "÷": "/"}
    | {"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "‖": "||", "√": "sqrt", "∞": "inf", "Σ": "sum", "∝": "~"}
    | {"α": "alpha", "β": "beta", "γ": "gamma", "λ": "lambda", "ω": "omega", "π": "pi", "ρ": "rho", "∂": "d"}
    | {
        "─": "-",
        "━": "=",
        "╸": "=",
        "╺": "-",
        "│": "|",
        "█": "#",
        "•": "*",
        "°": " deg",
        "⁻": "-",
        "“": '"',
        "”": '"',
    }
)
"""Characters -> what replaces them where the encoding lacks them. Others lose their accents, or become "?"."""


def encodable(text: str, encoding: str | None) -> str:
    """Return the text with replacements for all characters that the encoding lacks."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_replace(character, encoding) for character in text)
    return text


def _replace(character: str, encoding: str) -> str:
    plain = unicodedata.normalize("NFKD", character)
    for candidate in (character, character.translate(REPLACEMENTS), plain, plain[:1]):
        with suppress(UnicodeEncodeError):
            candidate.encode(encoding)
            return candidate
    return "?"


class SafeStream:
    """A text stream around another one whose `write` and `flush` never raise.

    Args:
        stream: the stream, such as `sys.stdout`; None, which Python sets for a closed one, takes everything in silence.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap the stream."""
        self._stream = stream
        self.failure: Exception | None = None
        """The error of the first write that failed, None if there was none."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the stream, such as its `encoding`."""
        if self._stream is None and name == "encoding":
            return "utf-8"
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with suppress(OSError, ValueError, AttributeError):
            return self._stream is not None and self._stream.isatty()
        return False

    def write(self, text: str) -> int:
        """Write the text, or drop it if the stream has failed, and return the number of characters."""
        if self._stream is not None and self.failure is None:
            with self._recorded(self._stream):
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    self._stream.write(encodable(text, self._stream.encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream unless it has failed."""
        if self._stream is not None and self.failure is None:
            with self._recorded(self._stream):
                self._stream.flush()

    @contextmanager
    def _recorded(self, stream: TextIO) -> Iterator[None]:
        """Record an error. A reader that is only slow is none: its text is dropped."""
        try:
            yield
        except BlockingIOError:
            pass
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self.failure = error
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Point the descriptor of a standard stream to nowhere, or Python would fail to flush the rest at its exit."""
    if stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def failure() -> Exception | None:
    """Return the error of the first write to standard output that failed, None if there was none.

    Standard error is for remarks: what cannot be written there is dropped, and nothing follows.
    """
    stream = _behind_bar(sys.stdout)
    return stream.failure if isinstance(stream, SafeStream) else None


def _behind_bar(stream: Any) -> Any:
    """Return the stream itself; while rich shows a bar, it prints both standard streams above the bar."""
    return getattr(stream, "rich_proxied_file", stream)


def failure_code() -> int:
    """Return 0 while standard output works, SIGPIPE after a closed pipe, and `DISPLAY_FAILURE` after other errors."""
    error = failure()
    if error is None:
        return 0
    return int(signal.SIGPIPE) if isinstance(error, BrokenPipeError) else DISPLAY_FAILURE


def report_failure(text: str) -> None:
    """Write one line on standard error: why the display failed, and what is saved."""
    error = failure()
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    print(f"the display failed ({reason}); {text}", file=_behind_bar(sys.stderr))


def stop_if_failed(saved: str) -> None:
    """Raise `Preempted` if standard output has failed, with a line that says what is saved.

    One of several hosts goes on, since the others would wait for it.
    """
    if (number := failure_code()) and jax.process_count() == 1:
        report_failure(f"{saved}; continue with --resume")
        raise Preempted(number)


@contextmanager
def safe_output(finished: str = "") -> Iterator[None]:
    """Make standard output and standard error safe inside the context, or inside a function that this decorates.

    Args:
        finished: what a line on standard error says if standard output has failed and the context ends nevertheless.

    Raises:
        Preempted: standard output has failed. Everything inside the context was done before.
    """
    if isinstance(_behind_bar(sys.stdout), SafeStream):  # an outer context reports
        yield
        return
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (SafeStream(stream) for stream in streams)  # type: ignore[assignment]  it has the methods of a file that are used
    try:
        yield
        sys.stdout.flush()
        if number := failure_code():
            if finished:
                report_failure(finished)
            raise Preempted(number)
    except SystemExit as stop:
        if stop.code in (None, 0) and (number := failure_code()):  # such as --help
            raise Preempted(number) from None
        raise
    finally:
        sys.stdout, sys.stderr = streams


def open_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is, without markup and without cutting lines, on process 0 only."""
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
    return Console(stderr=stderr, quiet=not is_first(), **plain)


def is_interactive(console: Console) -> bool:
    """Return whether the console can redraw a line. A pipe, a file and TERM=dumb cannot."""
    return console.is_terminal and not console.is_dumb_terminal


def columns_of(console: Console) -> int | None:
    """Return the characters of a line of the terminal, or COLUMNS if it is set; None for a pipe or file."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    if not console.is_terminal:
        return None
    for stream in (console.file, sys.__stdout__, sys.__stderr__, sys.__stdin__):
        with suppress(OSError, ValueError, AttributeError):
            if columns := os.get_terminal_size(stream.fileno()).columns:  # type: ignore[union-attr]  None is suppressed
                return columns
    return shutil.get_terminal_size().columns
