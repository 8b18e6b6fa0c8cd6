"""The registry and the program that lists, prepares, verifies and shows data sets."""

import dataclasses
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import inventory, listops
from experiments.data.arrays import Split
from experiments.data.data_catalog import CATALOG, DataSet
from experiments.data.inventory import known_statistics, program
from experiments.data.inventory.figures import draw_samples, label_text, sample_text
from experiments.data.inventory.known_statistics import Known, compare
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.recall import RecallConfig
from experiments.data.retrieval import RetrievalConfig
from experiments.lra import presets
from tests.experiments.data.readers.official_layout import write_pairs

SIZES: Any = {"train": 40, "val": 5, "test": 5}
TINY = DataSet("symbols", (RecallConfig(items=2, max_len=16, vocabulary=12, **SIZES),))
LISTS = DataSet(
    "symbols", (ListOpsData(listops.ListOpsConfig(min_length=3, max_length=30, **SIZES), max_len=29),)
)


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """Two tiny data sets in place of all others, and an empty current folder."""
    monkeypatch.chdir(tmp_path)
    for name in tuple(CATALOG):
        monkeypatch.delitem(CATALOG, name)
    monkeypatch.setitem(CATALOG, "mqar-quick", TINY)
    monkeypatch.setitem(CATALOG, "listops-quick", LISTS)


@pytest.fixture(autouse=True)
def _lines_of_any_length(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def run(text):
    return inventory.main(inventory.command_line(text.split()))


@pytest.mark.parametrize("name", CATALOG)
def test_a_data_set_of_the_registry_has_what_the_programs_need(name, tmp_path):
    data = CATALOG[name]
    stand_ins = {config.title for other in CATALOG.values() for config in other.configs if config.is_stand_in}
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert len(set(data.sources)) == len(data.sources) >= 1
    assert set(data.instructions) <= set(data.sources)
    for config in data.configs:
        assert data.config(config.source) is config
        assert config.title
        assert min([*config.sizes().values(), config.max_len]) >= 1
        assert all(0 < floor < 1 for floor in config.floors.values())
        assert ("stand-in" in config.title) == config.source.startswith("offline:")
        assert config.is_stand_in or config.title not in stand_ins
        assert not config.is_prepared(tmp_path)
    assert data.config() is data.configs[0]
    with pytest.raises(ValueError, match="got source='web'; choose among them"):
        data.config("web")


def test_known_statistics_belong_to_data_sets():
    known = known_statistics.known_statistics("listops", CATALOG["listops"].configs[0])
    assert [statistic.name for statistic in known][:2] == ["length", "length <= 538"]
    assert known_statistics.known_statistics("listops-quick", LISTS.configs[0]) == ()
    for name, source in (("text", "polarity"), ("image", "mnist")):
        data = CATALOG[name]
        assert len(known_statistics.known_statistics(name, data.config())) >= 1
        assert known_statistics.known_statistics(name, data.config(f"offline:{source}")) == ()


def same(one, other):
    """Whether two configurations are equal; TFDS compares those of ListOps by identity, their names have all."""
    if isinstance(one, ListOpsData) and isinstance(other, ListOpsData):
        return (one.config.name, one.max_len) == (other.config.name, other.max_len)
    return one == other


@pytest.mark.parametrize("task", presets.MINIATURES)
def test_the_miniatures_are_those_of_the_quick_presets(task):
    data = CATALOG["listops-quick" if task == "listops" else f"{task}-quick"]
    assert same(data.config(), presets.MINIATURES[task].data())


def test_the_benchmark_is_that_of_its_published_configurations():
    names = {"pathfinder": "pathfinder32"}
    for task, config in presets.TWO_LAYER.items():
        assert same(CATALOG[names.get(task, task)].config(), config.data())


@pytest.mark.usefixtures("registry")
def test_the_list_says_what_is_prepared_and_how_to_get_the_rest(capsys, tmp_path):
    assert run("")["prepared"] == []
    out = capsys.readouterr().out
    assert re.search(r"mqar-quick .* 40 / 5 / 5 .* no .* prepare mqar-quick\n", out)
    assert list(tmp_path.iterdir()) == []
    assert list(run("prepare mqar-quick")["hashes"]["mqar-quick"]) == ["train", "val", "test"]
    assert "mqar-quick: MQAR (2 pairs, 16 tokens), generated: train 40 / val 5" in capsys.readouterr().out
    assert run("list")["prepared"] == ["mqar-quick"]
    assert re.search(r"mqar-quick .* yes ", capsys.readouterr().out)
    assert not (tmp_path / "runs").exists()


def test_sources_that_need_a_folder_have_an_instruction(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("list listops")
    out = capsys.readouterr().out
    assert "prepare listops --source lra_release --manual-dir FOLDER" in out
    assert "listops --source lra_release: extract listops-1000 from lra_release.gz" in out
    with pytest.raises(FileNotFoundError, match="got no --manual-dir; pass the folder listops-1000"):
        run("prepare listops --source lra_release")


def test_published_files_are_prepared_whether_or_not_their_folder_is_named(tmp_path):
    published = tmp_path / "listops-1000"
    published.mkdir()
    for split, size in SIZES.items():
        pairs = listops.generate(size, seed=size, min_length=3, max_length=30)
        rows = "".join(f"{' '.join(tokens)}\t{label}\n" for tokens, label in pairs)
        (published / f"basic_{split}.tsv").write_text(f"Source\tTarget\n{rows}")
    data = ListOpsData(listops.ListOpsConfig(source="lra_release", **SIZES), max_len=29)
    assert not data.is_prepared(tmp_path / "data", published)
    splits = data.prepare(tmp_path / "data", manual_dir=published)
    assert data.is_prepared(tmp_path / "data", published)
    assert data.is_prepared(tmp_path / "data")
    assert not dataclasses.replace(data, max_len=30).is_prepared(tmp_path / "data")
    assert [len(split.labels) for split in splits.values()] == [40, 5, 5]


@pytest.mark.usefixtures("registry")
def test_verify_reads_everything_again_and_compares(capsys, tmp_path):
    run("prepare mqar-quick listops-quick")
    summary = run("verify --out run")
    out = capsys.readouterr().out
    assert summary["deviations"] == []
    assert re.search(r"mqar-quick +labels of a row +2.000 +2.000 +0.0 +agrees", out)
    assert re.search(r"listops-quick +train +40 +40 +", out)
    assert list(summary["data_sets"]) == ["mqar-quick", "listops-quick"]
    assert json.loads(Path("run/summary.json").read_text())["data_sets"] == summary["data_sets"]
    assert run("--out run --resume")["data_sets"] == summary["data_sets"]
    (path,) = tmp_path.glob("data/arrays/recall-*/train.x.npy")
    content, status = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk damages files
    with pytest.raises(ValueError, match=r"train.x.npy has SHA-256 .*; delete its folder to prepare them"):
        run("verify mqar-quick")


@pytest.mark.usefixtures("registry")
def test_a_deviation_is_a_sentence_and_code_1(monkeypatch, capsys):
    run("prepare mqar-quick")
    wrong = Known("labels of a row", lambda rows: (rows.labels >= 0).sum(axis=1).astype(float), 3)
    monkeypatch.setattr(program, "known_statistics", lambda name, config: (wrong,))
    monkeypatch.setattr(sys, "argv", ["experiments.data", "verify"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("experiments.data.__main__").run()
    assert stopped.value.code == 1
    assert "mqar-quick: labels of a row is 2, known 3" in capsys.readouterr().out


def test_a_split_of_another_size_is_a_deviation():
    row = {"splits": [{"name": "val", "examples": 4, "expected": 5}], "statistics": []}
    assert program.deviations({"mqar": row}) == ["mqar val has 4 examples, expected 5"]
    release = row | {"source": "lra_release"}  # one of its images is empty
    assert program.deviations({"pathfinder32-easy": release}) == []
    assert program.deviations({"pathfinder32": release}) == ["pathfinder32 val has 4 examples, expected 5"]
    row["splits"][0]["examples"] = 3
    assert program.deviations({"pathfinder32-easy": release}) == [
        "pathfinder32-easy val has 3 examples, expected 5"
    ]


@pytest.mark.usefixtures("registry")
def test_show_draws_a_picture_of_every_prepared_data_set(capsys):
    run("prepare mqar-quick")
    with pytest.raises(FileNotFoundError, match="got no arrays of listops-quick in data; python -m"):
        run("show listops-quick")
    summary = run("show --count 3 --split test")
    row = summary["data_sets"]["mqar-quick"]
    assert (row["samples"], row["split"]) == (3, "test")
    (path,) = Path("runs/data").glob("show-*/mqar-quick.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "mqar-quick.png" in capsys.readouterr().out
    run("prepare listops-quick")
    more = run(f"show listops-quick --out {path.parent} --resume")  # the data sets of the run, and one more
    assert list(more["data_sets"]) == ["mqar-quick", "listops-quick"]
    assert more["data_sets"]["mqar-quick"] == row


@pytest.mark.usefixtures("registry")
def test_without_prepared_data_there_is_nothing_to_verify(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no arrays in data; python -m experiments.data prepare"):
        run("verify")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("registry")
def test_published_data_are_verified_with_their_folder(monkeypatch, tmp_path):
    sizes: Any = {"train": 8, "val": 4, "test": 4}
    pairs = DataSet("text", (RetrievalConfig(max_len=9, **sizes),), {"lra_release": "extract it."})
    monkeypatch.setitem(CATALOG, "retrieval", pairs)
    write_pairs(tmp_path / "manual")
    run("prepare mqar-quick")
    run("prepare retrieval --manual-dir manual")
    assert run("list")["prepared"] == ["mqar-quick", "retrieval"]
    assert list(run("verify")["data_sets"]) == ["mqar-quick"]
    summary = run("verify --manual-dir manual")
    assert list(summary["data_sets"]) == ["mqar-quick", "retrieval"]
    assert summary["deviations"] == []
    assert list(run("verify --manual-dir .")["data_sets"]) == ["mqar-quick"]
    with pytest.raises(FileNotFoundError, match="got no manual folder; extract"):
        run("verify retrieval")
    summary = run("show retrieval --manual-dir manual")
    assert summary["data_sets"]["retrieval"]["first"] == "label 0 first 0 second tr"


def split_of(tokens, labels, vocabulary=("<pad>", "a", "b", "c"), first_id=0, lengths=None):
    tokens = np.array(tokens, np.uint8)
    lengths = np.full(tokens.shape[:-1], tokens.shape[-1], np.int32) if lengths is None else lengths
    return Split(tokens, lengths, np.array(labels, np.int32), vocabulary, 4, first_id=first_id)


def test_a_sample_is_text():
    lengths = np.array([2], np.int32)
    assert sample_text(split_of([[1, 3, 0]], [2], lengths=lengths), 0) == "a c"
    assert sample_text(split_of([[1, 3, 2]], [[-1, 2, -1]]), 0) == "a c → b b"
    values = [list(b"caf\xc3\xa9\n"), list(b"yes!  ")]
    pair = split_of([values], [1], first_id=1, lengths=np.array([[6, 4]], np.int32))
    assert sample_text(pair, 0) == "café \nyes!"
    assert label_text(pair, 0) == "label 1"
    assert label_text(split_of([[1, 3, 2]], [[-1, 2, -1]]), 0) == ""


def test_images_are_squares_in_reading_order():
    split = split_of([[0, 255, 9, 1], [1, 2, 3, 4], [5, 6, 7, 8]], [0, 1, 1], first_id=1)
    figure = draw_samples(split, "image", 5, "title")
    images = [panel.images[0] for panel in figure.axes if panel.images]
    assert [panel.get_title() for panel in figure.axes if panel.images] == ["label 0", "label 1", "label 1"]
    np.testing.assert_array_equal(images[0].get_array(), [[0, 255], [9, 1]])
    assert images[0].get_clim() == (0, 255)


def test_the_texts_of_a_pair_are_numbered():
    pair = split_of([[list(b"one "), list(b"two ")]], [1], first_id=1)
    (text,) = [text for text in draw_samples(pair, "text", 9, "title").texts if "label" in text.get_text()]
    assert text.get_text() == "label 1\n1. one\n2. two"


def test_text_samples_stand_below_the_title_and_long_ones_are_cut():
    split = split_of([[1] * 2000, [2] * 2000], [0, 1])
    (text,) = [
        text for text in draw_samples(split, "symbols", 9, "title").texts if "label" in text.get_text()
    ]
    first, second = text.get_text().split("\n\n")
    assert first.startswith("label 0\na a a")
    assert first.endswith("…")
    assert len(first.splitlines()) == 7
    assert second.startswith("label 1\nb b")


def test_a_statistic_is_compared_within_both_sampling_errors(monkeypatch):
    monkeypatch.setattr(known_statistics, "ROWS_AT_ONCE", 3)
    split = split_of(np.zeros((8, 2)), [0, 1, 1, 0, 1, 1, 1, 1])
    values = Known("label", lambda rows: rows.labels.astype(float), 0.5, 16)
    share = values._replace(is_share=True)
    exact = values._replace(examples=np.inf)
    constant = Known("length", lambda rows: rows.lengths.astype(float), 2)
    results = compare(split, (values, exact, share, constant, constant._replace(mean=3)))
    assert [result.here for result in results] == [0.75, 0.75, 0.75, 2, 2]
    error = np.sqrt(0.75 * 0.25)  # of the values here
    np.testing.assert_allclose(results[0].z, 0.25 / (error * np.sqrt(1 / 8 + 1 / 16)))
    np.testing.assert_allclose(results[1].z, 0.25 / (error * np.sqrt(1 / 8)))
    np.testing.assert_allclose(results[2].z, 0.25 / (0.5 * np.sqrt(1 / 8 + 1 / 16)))
    assert [result.z for result in results[3:]] == [0, -np.inf]
    assert [result.agrees for result in results] == [True, True, True, True, False]


def test_the_known_statistics_of_listops_hold_for_the_generator():
    pairs = list(listops.generate(60, seed=1))
    lengths = np.array([len(tokens) for tokens, _ in pairs], np.int32)
    labels = np.array([label for _, label in pairs], np.int32)
    split = Split(np.zeros((60, 1), np.uint8), lengths, labels, listops.VOCABULARY, listops.CLASSES)
    results = compare(split, known_statistics.LISTOPS)
    assert max(abs(result.z) for result in results) < 3.5
    shifted = compare(split._replace(lengths=lengths + 400), known_statistics.LISTOPS)
    assert not all(result.agrees for result in shifted)
