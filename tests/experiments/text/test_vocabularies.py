"""Word pieces and characters: deterministic training, published tokenizers, and damaged files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from experiments.data.text.corpora.vocabularies import (
    SPECIAL,
    character_vocabulary,
    characters_of,
    published_word_pieces,
    stored_characters,
    trained_word_pieces,
)
from tests.experiments.text.text_miniatures import documents

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [document.text for document in documents(60)]


def test_training_in_two_processes_gives_one_vocabulary(tmp_path):
    """The trainer of the library breaks ties by ids of continuing characters, which it draws at random."""
    code = """
import sys
from pathlib import Path
from experiments.data.text.corpora.vocabularies import trained_word_pieces
from tests.experiments.text.test_vocabularies import TEXTS
trained_word_pieces(Path(sys.argv[1]), lambda: TEXTS, 100)
"""
    trained_word_pieces(tmp_path / "one", lambda: TEXTS, 100)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "two")], cwd=ROOT, check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_ties_the_pieces_are_those_of_the_plain_trainer(tmp_path):
    words = [a + b for a, b in zip("abcdefghijklm", "nopqrstuvwxyz", strict=True)]
    texts = [
        " ".join([word] * (count + 1)) for count, word in enumerate(words)
    ]  # every pair has its own count
    plain = Tokenizer(WordPiece(unk_token="[UNK]"))
    plain.normalizer, plain.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=5_000, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False
    )
    plain.train_from_iterator(texts, trainer)
    ours = trained_word_pieces(tmp_path / "file.json", lambda: [text.encode() for text in texts], 5_000)
    assert set(ours.symbols) == set(plain.get_vocab())
    assert ours.symbols[: len(SPECIAL)] == SPECIAL
    assert {"bo", "cp"} <= set(ours.symbols)
    assert "an" not in ours.symbols  # it occurs once


def test_rows_are_cut_between_their_special_symbols(tmp_path):
    vocabulary = trained_word_pieces(tmp_path / "file.json", lambda: TEXTS, 300)
    for max_len in (3, 6, 100):
        ids = vocabulary.encode(TEXTS[0], max_len)
        symbols = [vocabulary.symbols[i] for i in ids]
        assert (symbols[0], symbols[-1]) == ("[CLS]", "[SEP]")
        assert len(ids) <= max_len
        assert ids.dtype == np.uint8 if len(vocabulary.symbols) <= 256 else np.uint16
    assert [vocabulary.symbols[i] for i in vocabulary.encode(b"", 8)] == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json"])
def test_a_published_tokenizer_gives_its_own_ids(name, tmp_path):
    pieces = [*SPECIAL, "film", "##s", "good", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    vocabulary = published_word_pieces(tmp_path / "vocab.txt")
    if name == "tokenizer.json":
        trained = trained_word_pieces(tmp_path / name, lambda: [b"film films good good !"] * 3, 100)
        vocabulary = published_word_pieces(tmp_path / name)
        assert vocabulary.symbols == trained.symbols
    symbols = [vocabulary.symbols[i] for i in vocabulary.encode(b"Films GOOD!", 20)]
    assert symbols[0] == "[CLS]"
    assert "".join(symbols[1:-1]).replace("##", "") == "filmsgood!"
    if name == "vocab.txt":
        assert vocabulary.encode(b"films zzz", 20).tolist() == [2, 5, 6, 1, 3]


def test_characters_stand_behind_padding_and_unknown_in_the_order_of_their_code_points():
    vocabulary = characters_of([b"ba", "é".encode(), b"\xff"])  # the last one is read as Latin-1
    assert vocabulary.symbols == ("[PAD]", "[UNK]", "a", "b", "é", "ÿ")
    assert vocabulary.encode("abzé".encode(), 10).tolist() == [2, 3, 1, 4]
    assert vocabulary.encode("abzé".encode(), 2).tolist() == [2, 3]
    assert vocabulary.encode(b"", 2).tolist() == [1]
    assert (
        character_vocabulary([*SPECIAL[:2], *map(chr, range(1000, 1400))]).encode(b"a", 1).dtype == np.uint16
    )


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 1}'])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"file\.json must list characters"):
        stored_characters(path, lambda: TEXTS)
    with pytest.raises(ValueError, match=r"file\.json must hold a tokenizer"):
        trained_word_pieces(path, lambda: TEXTS, 100)
