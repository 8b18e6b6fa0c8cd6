"""Tokens of a text: word pieces of a published or a trained vocabulary, and characters.

A vocabulary that is not published comes from the training split alone. Training is deterministic, and the trained
tokenizer is stored with the data.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from jaxtyping import UInt8, UInt16
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from tokenizers.trainers import WordPieceTrainer

from experiments.data.preparation.counter import counted
from experiments.data.preparation.row_builder import id_type
from experiments.run.folder.atomic_files import write_atomically

PAD, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, FIRST, LAST, "[MASK]")
CONTINUED = "##"
"""Start of a piece that continues a word."""
MIN_COUNT = 2
"""Occurrences of a pair of pieces before it becomes a piece."""
FILES = ("tokenizer.json", "vocab.txt")
"""Files of a published tokenizer; the first one that is there counts."""
Ids = UInt8[np.ndarray, " t"] | UInt16[np.ndarray, " t"]


class Vocabulary(NamedTuple):
    """The symbols of a data set, and how a text becomes their ids."""

    symbols: tuple[str, ...]
    """Symbols in the order of their ids."""
    encode: Callable[[bytes, int], Ids]
    """(text, largest number of tokens) -> ids; at least one, so that no row is padding alone."""


def tokenizer_file(manual_dir: Path | None) -> Path:
    """Return the file of a published tokenizer.

    Raises:
        FileNotFoundError: there is none. The message says what is needed.
    """
    for name in FILES:
        if manual_dir is not None and (manual_dir / name).is_file():
            return manual_dir / name
    place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without it"
    raise FileNotFoundError(
        f"the file tokenizer.json, or vocab.txt, of a tokenizer such as bert-base-uncased is needed, got {place}; put "
        f"it into the manual folder, or train a vocabulary on the training split."
    )


def published_word_pieces(path: Path) -> Vocabulary:
    """Return the vocabulary of a published tokenizer; rows begin with [CLS] and end with [SEP], as in BERT.

    Args:
        path: tokenizer.json, or vocab.txt with one word piece a line, lower case.

    Raises:
        ValueError: the file is damaged, or has too many symbols.
    """
    try:
        if path.suffix == ".json":
            tokenizer: Any = Tokenizer.from_file(str(path))
        else:
            symbols = path.read_text(encoding="utf-8").splitlines()
            tokenizer = _tokenizer({symbol: i for i, symbol in enumerate(symbols)})
    except Exception as error:  # the library raises Exception itself
        raise ValueError(
            f"{path} must hold a tokenizer, got: {str(error)[:200]}; download it again."
        ) from None
    return _vocabulary_of(tokenizer)


def trained_word_pieces(path: Path, texts: Callable[[], Iterable[bytes]], size: int) -> Vocabulary:
    """Return a vocabulary of lower-case word pieces, which is trained unless its file is there.

    Args:
        path: file of the trained tokenizer.
        texts: function that returns the training texts.
        size: largest number of symbols.

    Raises:
        ValueError: the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            write_atomically(path, _train(texts(), size).encode())
    return published_word_pieces(path)


def _train(texts: Iterable[bytes], size: int) -> str:
    """Return a trained tokenizer as JSON.

    The trainer of the library gives the continuing characters ids in a random order, by which it breaks ties. Here they
    are special symbols, so that their order is fixed; the pieces of the result are those of an ordinary vocabulary.
    """
    decoded = [decode(text) for text in texts]
    tokenizer: Any = _tokenizer({UNKNOWN: 0})
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    characters: set[str] = set()
    for text in counted(decoded, "training word pieces", len(decoded)):
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            characters.update(word[1:])
    continued = [CONTINUED + character for character in sorted(characters)]
    options: Any = {"vocab_size": size, "min_frequency": MIN_COUNT, "show_progress": False}
    trainer = WordPieceTrainer(special_tokens=[*SPECIAL, *continued], **options)
    tokenizer.train_from_iterator(decoded, trainer)
    return _tokenizer(tokenizer.get_vocab()).to_str(pretty=True)


def _tokenizer(ids: dict[str, int]) -> Tokenizer:
    """Return the lower-case tokenizer of BERT with these word pieces."""
    tokenizer: Any = Tokenizer(WordPiece(ids, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    if FIRST in ids and LAST in ids:
        tokenizer.post_processor = BertProcessing((LAST, ids[LAST]), (FIRST, ids[FIRST]))
    return tokenizer


def _vocabulary_of(tokenizer: Any) -> Vocabulary:
    ids: dict[str, int] = tokenizer.get_vocab()
    symbols = {i: symbol for symbol, i in ids.items()}
    count = max(symbols) + 1
    dtype = id_type(count)
    tokenizer.no_padding()

    def encode(text: bytes, max_len: int) -> Ids:
        tokenizer.enable_truncation(max_len)
        return np.array(tokenizer.encode(decode(text)).ids or [ids.get(UNKNOWN, 0)], dtype)

    return Vocabulary(tuple(symbols.get(i, f"[{i}]") for i in range(count)), encode)


def characters_of(texts: Iterable[bytes]) -> Vocabulary:
    """Return the characters of the training texts: padding, unknown, then the others by their code points."""
    characters: set[str] = set()
    for text in texts:
        characters.update(decode(text))
    return character_vocabulary((PAD, UNKNOWN, *sorted(characters)))


def character_vocabulary(symbols: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of these characters, the first of which are padding and unknown."""
    ids, dtype = {symbol: i for i, symbol in enumerate(symbols)}, id_type(len(symbols))

    def encode(text: bytes, max_len: int) -> Ids:
        return np.array([ids.get(character, 1) for character in decode(text)[:max_len]] or [1], dtype)

    return Vocabulary(tuple(symbols), encode)


def stored_characters(path: Path, texts: Callable[[], Iterable[bytes]]) -> Vocabulary:
    """Return the characters of the training texts, which are counted unless their file is there.

    Raises:
        ValueError: the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            symbols = characters_of(texts()).symbols
            write_atomically(path, (json.dumps(symbols, indent=0) + "\n").encode())
    try:
        symbols = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must list characters, got: {error}; delete it.") from None
    if not isinstance(symbols, list) or symbols[:2] != [PAD, UNKNOWN]:
        raise ValueError(f"{path} must list characters after {PAD} and {UNKNOWN}, got others; delete it.")
    return character_vocabulary(symbols)


def decode(text: bytes) -> str:
    """Return a text; bytes that are not UTF-8 are read as Latin-1, as in old mails and reviews."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
