"""Documents as ids: bytes, words, or the pieces of a published tokenizer, each with the text that it stands for.

Every unit stands for a span of bytes, and the spans of a document are its bytes. So bits per byte and perplexity per
word divide the same nats by the same text, whatever the units are.

    U units of a document
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

END = "<end>"
"""The unit after every document; it stands for no byte."""
UNKNOWN = "<unk>"
NEW_LINE = "<eos>"
"""The unit of a line end in texts by words."""
WORD = re.compile(rb"[^\s]+|\n")
SPACES = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


class Units(NamedTuple):
    """The units of a document, the end among them."""

    ids: Int32[np.ndarray, " u"]
    bytes: Int32[np.ndarray, " u"]
    """Bytes of the text that each unit stands for."""
    words: Int32[np.ndarray, " u"]
    """Words that begin within these bytes; a word is what stands between white space."""


class Encoder(NamedTuple):
    """A way to read documents."""

    vocabulary: tuple[str, ...]
    """Symbols in the order of their ids."""
    encode: Callable[[bytes], Units]
    """Document -> its units."""

    @property
    def dtype(self) -> type[np.generic]:
        """The smallest type that arrays of ids may have."""
        size = len(self.vocabulary)
        return np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32


def span_units(
    text: bytes, ids: Sequence[int] | np.ndarray, starts: Int[np.ndarray, " n"], end: int
) -> Units:
    """Return the units whose spans begin at these bytes, and the end of the document.

    What stands before the first unit belongs to it. A document without units is its end alone, which then stands for
    its bytes.

    Args:
        text: the document.
        ids: ids of the units.
        starts: first byte of every unit, which do not fall.
        end: id of the end.
    """
    values = np.frombuffer(text, np.uint8)
    is_space = np.concatenate([[True], SPACES[values]])
    begun_words = np.concatenate([[0], np.cumsum(is_space[:-1] & ~is_space[1:])])
    edges = np.concatenate([[0], starts[1:], [len(text)] * min(len(starts), 1), [len(text)]]).astype(np.int64)
    return Units(
        np.append(np.asarray(ids, np.int32), np.int32(end)),
        np.diff(edges).astype(np.int32),
        np.diff(begun_words[edges]).astype(np.int32),
    )


def byte_encoder() -> Encoder:
    """Return the encoder of bytes: the id of a byte is its value, and 0, which no text has, is the end.

    Example:
        >>> from experiments.data.language_modeling.text_units import byte_encoder
        >>> units = byte_encoder().encode(b"to be")
        >>> units.ids.tolist(), units.bytes.tolist(), units.words.tolist()
        ([116, 111, 32, 98, 101, 0], [1, 1, 1, 1, 1, 0], [1, 0, 0, 1, 0, 0])
    """

    def encode(text: bytes) -> Units:
        values = np.frombuffer(text, np.uint8)
        if not values.all():
            raise ValueError(
                "a text by bytes has no byte 0, which marks the end of a document, got one; correct the text."
            )
        return span_units(text, values, np.arange(len(values)), 0)

    symbols = (chr(value) if 32 < value < 127 else f"0x{value:02x}" for value in range(1, 256))
    return Encoder((END, *symbols), encode)


def frequent_words(documents: Iterable[bytes], rarest: int) -> list[bytes]:
    """Return the words of documents, the most frequent first, without the sign of unknown words.

    Args:
        documents: the documents; a word is what stands between white space.
        rarest: a word that they have less often is left out.

    Example:
        >>> from experiments.data.language_modeling.text_units import frequent_words
        >>> frequent_words([b"to be or not to be"], rarest=2)
        [b'be', b'to']
    """
    counts: Counter[bytes] = Counter()
    for text in documents:
        counts.update(text.split())
    words = [word for word, count in counts.items() if count >= rarest and word != UNKNOWN.encode()]
    return sorted(words, key=lambda word: (-counts[word], word))


def word_encoder(words: Sequence[bytes]) -> Encoder:
    """Return the encoder of words, and of the ends of lines.

    Args:
        words: the words that have an id; all others are unknown.

    Example:
        >>> from experiments.data.language_modeling.text_units import word_encoder
        >>> encoder = word_encoder([b"be", b"to"])
        >>> encoder.vocabulary
        ('<end>', '<unk>', '<eos>', 'be', 'to')
        >>> encoder.encode(b"to do\\n").ids.tolist()
        [4, 1, 2, 0]
    """
    ids = {word: number for number, word in enumerate((UNKNOWN.encode(), b"\n", *words), 1)}

    def encode(text: bytes) -> Units:
        matches = [(ids.get(match.group(), 1), match.start()) for match in WORD.finditer(text)]
        numbers, starts = np.array(matches, np.int64).reshape(-1, 2).T
        return span_units(text, numbers, starts, 0)

    return Encoder((END, UNKNOWN, NEW_LINE, *(word.decode("utf-8", "replace") for word in words)), encode)


def piece_encoder(path: Path) -> Encoder:
    """Return the encoder of a published tokenizer; the end of a document is one more id than its largest.

    Args:
        path: its `tokenizer.json`.

    Raises:
        ValueError: the file is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises its base class
        raise ValueError(
            f"a tokenizer is the file tokenizer.json of a model, got {path} ({error}); check the path."
        ) from None
    ids = tokenizer.get_vocab(with_added_tokens=True)
    size = max(ids.values()) + 1
    symbols = {number: symbol for symbol, number in ids.items()}

    def encode(text: bytes) -> Units:
        characters = text.decode("utf-8", "replace")
        encoding = tokenizer.encode(characters, add_special_tokens=False)
        places = np.array([start for start, _ in encoding.offsets], np.int64)
        starts = np.maximum.accumulate(byte_places(characters)[places]) if len(places) else places
        return span_units(characters.encode(), encoding.ids, starts, size)

    return Encoder((*(symbols.get(number, "") for number in range(size)), END), encode)


def byte_places(characters: str) -> Int[np.ndarray, " n1"]:
    """Return the first byte in UTF-8 of every character, and the number of bytes."""
    codes = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes)])
