"""Reader of one large JSON object, entry by entry."""

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
"""Maximum number of characters of one value; a question has about two thousand."""
SPACE = " \t\n\r"


def entries(file: io.BufferedIOBase, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every entry of a UTF-8 file that is one JSON object.

    Only a window of the file and one value are in memory, so memory does not grow with the file. A key that occurs
    twice is yielded twice.

    Raises:
        ValueError: the text is not JSON, or its archive is damaged; the message has the name of the file and the
            position in characters, from 0.
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
    if trailing := window.peek():
        raise window.error(f"it ends, but {trailing!r} follows")


class _Window:
    """The part of the text that is being parsed."""

    def __init__(self, file: io.BufferedIOBase, name: str) -> None:
        self._file, self._name = file, name
        self._decode_bytes = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._position, self._offset = "", 0, 0
        self._decode_json = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is not space, or '' at the end."""
        while True:
            while self._position < len(self._text):
                if self._text[self._position] not in SPACE:
                    return self._text[self._position]
                self._position += 1
            if not self._read_more():
                return ""

    def take(self, expected: str) -> str:
        """Consume and return the next character, which must be one of those expected."""
        character = self.peek()
        if not character or character not in expected:
            raise self.error(f"{' or '.join(expected)} expected, got {character or 'the end'}")
        self._position += 1
        return character

    def value(self, kind: type) -> Any:
        """Parse and return the next value, which may begin in this window and end in a later one."""
        self.peek()
        while True:
            try:
                value, end = self._decode_json(self._text, self._position)
                break
            except json.JSONDecodeError as error:
                syntax_error = self.error(error.msg, error.pos)
                if len(self._text) - self._position > MAX_VALUE or not self._read_more():
                    raise syntax_error from None
        if not isinstance(value, kind):
            raise self.error(f"a text expected, got {value!r}")
        self._position = end
        return value

    def error(self, fault: str, position: int | None = None) -> ValueError:
        """Make the error that names the file and the position."""
        character = self._offset + (self._position if position is None else position)
        return ValueError(
            f"{self._name} must be one JSON object, and at character {character} is not: {fault}; download or extract "
            "it again."
        )

    def _read_more(self) -> bool:
        """Drop the parsed text and read the next bytes; return whether there were any."""
        try:
            data = self._file.read(WINDOW)
            text = self._decode_bytes(data, final=not data)
        except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise self.error(f"it cannot be read further ({error})", len(self._text)) from None
        self._text, self._offset, self._position = (
            self._text[self._position :] + text,
            self._offset + self._position,
            0,
        )
        return bool(data)
