"""Reader of the entries of one large JSON object, one at a time."""

import codecs
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

WINDOW = 1 << 20
"""Bytes read at once."""
MAX_VALUE = 1 << 22
"""Characters of one value; a question has two thousand."""
SPACE = " \t\n\r"


def entries(file: io.BufferedIOBase, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every entry of the JSON object of objects that is the whole of a UTF-8 file.

    Only a window of the file and one value are in memory, so memory does not grow with the file. A key that occurs
    twice is yielded twice.

    Raises:
        ValueError: the text stops being JSON or, from an archive, being readable; with the name of the file and the
            position in characters from 0.
    """
    window = _Window(file, name)
    window.take("{")
    if window.peek() == "}":
        window.take("}")
    else:
        while True:
            key = window.value(str)
            window.take(":")
            yield key, window.value(object)
            if window.take(",}") == "}":
                break
    if more := window.peek():
        raise window.broken(f"it ends, but {more!r} follows")


class _Window:
    """The part of the text that is being parsed."""

    def __init__(self, file: io.BufferedIOBase, name: str) -> None:
        self._file, self._name = file, name
        self._characters = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._passed = "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is not space, or '' at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Pass over the next character, one of those expected."""
        character = self.peek()
        if not character or character not in expected:
            raise self.broken(f"{' or '.join(expected)} expected, got {character or 'the end'}")
        self._at += 1
        return character

    def value(self, kind: type) -> Any:
        """Pass over the next value, which may begin in this window and end in a later one."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                break
            except json.JSONDecodeError as error:
                broken = self.broken(error.msg, error.pos)
                if len(self._text) - self._at > MAX_VALUE or not self._more():
                    raise broken from None
        if not isinstance(value, kind):
            raise self.broken(f"a text expected, got {value!r}")
        self._at = end
        return value

    def broken(self, fault: str, at: int | None = None) -> ValueError:
        """Make the error that names the file and the position."""
        place = self._passed + (self._at if at is None else at)
        return ValueError(
            f"{self._name} must be one JSON object, and at character {place} is not: {fault}; download or extract "
            "it again."
        )

    def _more(self) -> bool:
        """Drop what is passed and read on; return whether there was more."""
        try:
            data = self._file.read(WINDOW)
            text = self._characters(data, final=not data)
        except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise self.broken(f"it cannot be read further ({error})", len(self._text)) from None
        self._text, self._passed, self._at = self._text[self._at :] + text, self._passed + self._at, 0
        return bool(data)
