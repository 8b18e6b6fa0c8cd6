"""Texts for language modeling: units with their spans, packed blocks, published files, n-gram models, refusals."""

import dataclasses
import itertools
import json
import math
import zipfile
from collections import Counter

import numpy as np
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from experiments.data.language_modeling import CorpusConfig, free_texts, ngram_nats, stream_of, wikitext
from experiments.data.language_modeling.block_builder import pack
from experiments.data.language_modeling.text_units import (
    byte_encoder,
    byte_places,
    frequent_words,
    piece_encoder,
    word_encoder,
)

ARTICLES = [
    b" = First = \n \n The quick fox of <unk> . \n = = Part = = \n It runs . \n",
    " = Zweiter Ärger = \n \n Über größere Füße <unk> . \n".encode(),
    b" = Third = \n \n The end of the quick fox . \n",
]
TEXTS = [*ARTICLES, b"", b"\n", b"  two  spaces ", "naïve €5 𝄞 ".encode()]


@pytest.fixture
def tokenizer(tmp_path):
    """File of a tokenizer of pieces, which lowers letters and drops white space."""
    pieces = ("[UNK]", "the", "quick", "fox", "of", "run", "##s", "e", "##nd", "it", "5", "two", "space", "=")
    model = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    model.normalizer, model.pre_tokenizer = Lowercase(), Whitespace()
    model.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def encoders(tokenizer):
    return byte_encoder(), word_encoder(frequent_words(ARTICLES, 1)), piece_encoder(tokenizer)


def write_wikitext(folder, release="raw"):
    """Files of WikiText-103 with the articles in every split, in other orders."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in wikitext.PUBLISHED_NAMES.items():
        order = ARTICLES * 4 if split == "train" else ARTICLES[:: -1 if split == "val" else 1]
        (folder / f"wiki.{name}.{release}").write_bytes(b" \n" + b"".join(order))


# Units.


@pytest.mark.parametrize("text", TEXTS)
def test_spans_of_units_are_the_bytes_and_words_of_the_text(text, tokenizer):
    for encoder in encoders(tokenizer):
        units = encoder.encode(text)
        assert units.bytes.sum() == len(text)
        assert units.words.sum() == len(text.split())
        assert min(units.bytes.min(), units.words.min()) >= 0
        assert encoder.vocabulary[units.ids[-1]] == "<end>"
        assert np.all(units.ids[:-1] != units.ids[-1])
        assert units.ids.max() < len(encoder.vocabulary) <= np.iinfo(np.dtype(encoder.dtype).name).max + 1


def test_units_say_what_they_stand_for(tokenizer):
    by_bytes, by_words, by_pieces = encoders(tokenizer)
    assert bytes(by_bytes.encode(ARTICLES[1]).ids[:-1].tolist()) == ARTICLES[1]
    text = b"The fox runs .\n"
    words = by_words.encode(text)
    assert [by_words.vocabulary[i] for i in words.ids] == ["The", "fox", "runs", ".", "<eos>", "<end>"]
    assert words.bytes.tolist() == [4, 4, 5, 1, 1, 0]
    pieces = by_pieces.encode(text)
    assert [by_pieces.vocabulary[i] for i in pieces.ids] == ["the", "fox", "run", "##s", "[UNK]", "<end>"]
    assert pieces.bytes.tolist() == [4, 4, 3, 2, 2, 0]
    assert pieces.words.tolist() == [1, 1, 1, 0, 1, 0]


def test_places_of_characters_are_those_of_utf8():
    text = "aä€𝄞b"
    assert byte_places(text).tolist() == [len(text[:i].encode()) for i in range(len(text) + 1)]


def test_rare_words_are_unknown_and_frequent_ones_come_first():
    words = frequent_words([b"a b a c b a <unk>"], rarest=2)
    assert words == [b"a", b"b"]
    encoder = word_encoder(words)
    assert [encoder.vocabulary[i] for i in encoder.encode(b"c a <unk>").ids] == [
        "<unk>",
        "a",
        "<unk>",
        "<end>",
    ]


def test_a_byte_zero_is_refused():
    with pytest.raises(ValueError, match="no byte 0"):
        byte_encoder().encode(b"a\0b")


# Blocks.


@pytest.mark.parametrize("length", [1, 3, 16])
def test_blocks_predict_every_id_but_the_first_once(length, tokenizer):
    for encoder in encoders(tokenizer):
        units = [encoder.encode(text) for text in TEXTS]
        ids, text_bytes, words = (np.concatenate([u[i] for u in units]) for i in range(3))
        blocks = list(pack(units, length))
        count = (len(ids) - 1) // length
        assert len(blocks) == count
        targets = np.concatenate([block.ids[1:] for block in blocks])
        np.testing.assert_array_equal(targets, ids[1 : 1 + count * length])
        assert all(a.ids[-1] == b.ids[0] for a, b in itertools.pairwise(blocks))
        sums = np.sum([block.text for block in blocks], axis=0)
        assert sums.tolist() == [
            text_bytes[1 : 1 + count * length].sum(),
            words[1 : 1 + count * length].sum(),
        ]


@pytest.mark.parametrize("unit", ["byte", "word", "piece"])
def test_arrays_of_wikitext_are_its_blocks(unit, tmp_path, tokenizer):
    release = "tokens" if unit == "word" else "raw"
    write_wikitext(tmp_path / "wiki", release)
    config = CorpusConfig("wikitext103", unit, tokenizer if unit == "piece" else None, max_len=8)
    assert not config.is_prepared(tmp_path)
    splits = config.prepare(tmp_path, manual_dir=tmp_path / "wiki")
    assert config.is_prepared(tmp_path)
    assert config.is_prepared(tmp_path, tmp_path / "wiki")
    documents = config.documents(tmp_path, tmp_path / "wiki")
    encoder = config.encoder(documents["train"], tmp_path, config.content(tmp_path, tmp_path / "wiki"))
    assert tuple(splits) == ("train", "val", "test")
    for split, arrays in splits.items():
        blocks = list(pack(map(encoder.encode, documents[split].read()), 8))
        np.testing.assert_array_equal(arrays.tokens, np.stack([block.ids for block in blocks]))
        np.testing.assert_array_equal(arrays.labels, np.array([block.text for block in blocks]))
        assert arrays.tokens.dtype == encoder.dtype
        assert arrays.vocabulary == encoder.vocabulary
        assert set(arrays.lengths) == {9}
    again = config.prepare(tmp_path, manual_dir=tmp_path / "wiki", verify=True)
    assert [split.sha256 for split in again.values()] == [split.sha256 for split in splits.values()]


def test_wide_ids_are_stored_as_they_are(tmp_path):
    folder = tmp_path / "wiki"
    write_wikitext(folder, "tokens")
    (folder / "wiki.train.tokens").write_text(" = Words = \n" + " ".join(f"w{i}" for i in range(400)) + " \n")
    train = CorpusConfig("wikitext103", "word", max_len=8).prepare(tmp_path, manual_dir=folder)["train"]
    assert train.tokens.dtype == np.uint16
    assert np.unique(train.tokens).size > 256


def test_articles_are_split_at_titles_and_an_archive_or_a_table_gives_the_same(tmp_path):
    write_wikitext(tmp_path)
    path = tmp_path / "wiki.test.raw"
    articles = list(wikitext.read_articles((path,), "test", "raw"))
    assert articles == [b" \n" + ARTICLES[0], *ARTICLES[1:]]
    lines, name = path.read_bytes().splitlines(keepends=True), wikitext.NAMES["raw"]
    tables = tmp_path / "tables" / name
    tables.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = ["" if line == b" \n" else line.decode() for line in lines]
        for part, texts in enumerate((rows[:5], rows[5:])):
            pyarrow.parquet.write_table(
                pyarrow.table({"text": texts}), tables / f"{split}-0000{part}-of-00002.parquet"
            )
    files = wikitext.published_files(tmp_path / "tables", "raw")
    assert [len(paths) for paths in files.values()] == [2, 2, 2]
    assert list(wikitext.read_articles(files["test"], "test", "raw")) == articles
    archive = tmp_path / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for published in wikitext.PUBLISHED_NAMES.values():
            packed.write(tmp_path / f"wiki.{published}.raw", f"wikitext-103-raw/wiki.{published}.raw")
    assert list(wikitext.read_articles((archive,), "test", "raw")) == articles
    path.unlink()
    assert set(wikitext.published_files(tmp_path, "raw").values()) == {(archive,)}
    next(tables.glob("test-*")).write_bytes(b"no table")
    with pytest.raises(ValueError, match="column text"):
        list(wikitext.read_articles(files["test"], "test", "raw"))


def test_documents_of_free_texts_belong_to_one_split(tmp_path):
    documents = CorpusConfig().documents(tmp_path, None)
    texts = [set(source.read()) for source in documents.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == len(set(free_texts.python_manual()))
    assert [source.count for source in documents.values()] == [len(text) for text in texts]
    other = dataclasses.replace(CorpusConfig(), seed=1).documents(tmp_path, None)
    assert set(other["test"].read()) != texts[2]


# n-gram models.


def slow_ngram(train, test, vocabulary, order):
    """Witten-Bell by dictionaries, one id after another."""
    counts = [Counter() for _ in range(order)]
    for k, i in itertools.product(range(order), range(len(train))):
        if i >= k:
            counts[k][tuple(train[i - k : i + 1])] += 1
    stream, nats = [*train, *test], np.zeros((order, len(test) - 1))
    for place in range(len(train) + 1, len(stream)):
        p = 1 / vocabulary
        for k in range(order):
            context = tuple(stream[place - k : place])
            after = {key[-1]: n for key, n in counts[k].items() if key[:-1] == context}
            if after:
                p = (after.get(stream[place], 0) + len(after) * p) / (sum(after.values()) + len(after))
            nats[k, place - len(train) - 1] = -math.log(p)
    return nats.mean(axis=1)


def test_ngram_models_pay_what_their_formula_says():
    rng = np.random.default_rng(0)
    train, test = (np.minimum(rng.geometric(0.5, n) + np.arange(n) % 2, 5).astype(np.uint8) for n in (60, 25))
    expected = slow_ngram(train.tolist(), test.tolist(), 6, 3)
    np.testing.assert_allclose(ngram_nats(train, test, 6, 3), expected, rtol=1e-12)


def test_the_stream_of_blocks_has_every_id_once(tmp_path):
    write_wikitext(tmp_path / "wiki")
    test = CorpusConfig("wikitext103", max_len=8).prepare(tmp_path, manual_dir=tmp_path / "wiki")["test"]
    text = b"\0".join([b" \n" + ARTICLES[0], *ARTICLES[1:], b""])
    stream = stream_of(test)
    assert bytes(stream.tolist()) == text[: len(stream)]
    assert len(text) - len(stream) < 8


# Refusals.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "web"}, "got source='web'"),
        ({"unit": "letter"}, "unit='letter'"),
        ({"unit": "piece"}, "tokenizer=None; set both"),
        ({"rarest": 2}, "rarest=2"),
        ({"max_len": 0}, "max_len=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        CorpusConfig(**fields)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="got no manual folder; download"):
        CorpusConfig("wikitext103").prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="wikitext-103-v1.zip"):
        CorpusConfig("wikitext103", "word").prepare(tmp_path, manual_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="tokenizer.json"):
        CorpusConfig(unit="piece", tokenizer=tmp_path / "none.json").prepare(tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="check the path"):
        CorpusConfig(unit="piece", tokenizer=tmp_path / "other.json").prepare(tmp_path)
    write_wikitext(tmp_path / "wiki")
    with pytest.raises(ValueError, match="lower the length"):
        CorpusConfig("wikitext103", max_len=4096).prepare(tmp_path, manual_dir=tmp_path / "wiki")
