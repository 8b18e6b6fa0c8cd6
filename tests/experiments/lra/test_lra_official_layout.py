"""Every task trains, evaluates and resumes from miniatures of its published files, in exactly their layout."""

import dataclasses
import json
import math
import signal
from typing import Any

import pytest

from experiments import lra, run
from experiments.data.image import ImageConfig, image_config
from experiments.data.listops.listops_options import Release
from experiments.data.pathfinder import PathfinderConfig
from experiments.data.retrieval import RetrievalConfig
from experiments.data.text import TextConfig
from experiments.lra import program
from experiments.lra.learned import example_hits
from tests.experiments.data.readers.miniatures import write_tfds
from tests.experiments.data.readers.official_layout import (
    HARD,
    REVIEWS,
    TEST_IMAGES,
    write_cifar,
    write_imdb,
    write_listops,
    write_pairs,
    write_pathfinder,
)

RELEASE = "lra_release/lra_release"
REVIEW_SIZES: Any = {"train": 18, "val": 2, "test": 6}
IMAGE_SIZES: Any = {"train": 18, "val": 2, "test": len(TEST_IMAGES)}
CONTOUR_SIZES: Any = {"train": 16, "val": 2, "test": 2}
PAIR_SIZES: Any = {"train": 8, "val": 4, "test": 4}


def write_crlf_pairs(folder):
    """Write the pairs as an editor on Windows leaves them: CRLF, and an empty line behind every row."""
    return write_pairs(folder / RELEASE / "tsv_data", end=b"\r\n\r\n")


SOURCES: Any = {
    "listops": (
        lambda folder: write_listops(folder / "listops-1000", end="\r\n"),
        {"source": "lra_release", "release": Release(6, 4, 4)},
        {"max_len": 29},
    ),
    "text-original": (
        write_imdb,
        {"text": TextConfig("original", max_len=24, **REVIEW_SIZES)},
        {"max_len": 24},
    ),
    "text-tfds": (
        lambda folder: write_tfds(folder, "imdb_reviews", REVIEWS),
        {"text": TextConfig("tfds", max_len=24, **REVIEW_SIZES)},
        {"max_len": 24},
    ),
    "retrieval": (
        write_crlf_pairs,
        {"retrieval": RetrievalConfig(max_len=24, **PAIR_SIZES)},
        {"max_len": 24},
    ),
    "image": (write_cifar, {"image": ImageConfig("original", **IMAGE_SIZES)}, {}),
    "pathfinder": (
        write_pathfinder,
        {"pathfinder": PathfinderConfig("lra_release", **CONTOUR_SIZES)},
        {},
    ),
    "pathx": (
        lambda folder: write_pathfinder(folder, folder=HARD.replace("32", "128"), size=128),
        {"pathfinder": PathfinderConfig("lra_release", 128, **CONTOUR_SIZES)},
        {"mixer": "windowed", "window": 16},
    ),
}
"""Name -> the writer of the files, the data of the run, and what its model needs."""
EXPECTED = {
    "listops": "basic_train.tsv",
    "text-original": "aclImdb_v1.tar.gz",
    "text-tfds": "imdb_reviews",
    "retrieval": "new_aan_pairs.train.tsv",
    "image": "cifar-10-binary.tar.gz",
    "pathfinder": "pathfinder32/curv_contour_length_14/metadata",
    "pathx": "pathfinder128/curv_contour_length_14/metadata",
}
"""Name -> what a message about another folder names."""


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch):
    """The archive has 20 training images."""
    monkeypatch.setattr(image_config, "CIFAR_SIZES", IMAGE_SIZES)


def tiny(name, folder, *, write=True) -> Any:
    """The published small configuration of a task with one narrow layer, and its files in a folder."""
    write_files, data, model = SOURCES[name]
    if write:
        write_files(folder / "manual")
    config = lra.PRESETS[f"{name.split('-')[0]}-two-layer"][1]
    sizes = {"layers": 1, "width": 8, "heads": 1, "head_width": 8, "ffn": 8, "classifier_width": 8}
    return dataclasses.replace(
        config,
        steps=2,
        batch=2,
        placement=("none",),
        mesh=lra.Mesh(data=1),
        model=dataclasses.replace(config.model, **sizes, **model),
        optimizer=dataclasses.replace(config.optimizer, warmup=1),
        cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=1, keep=1),
        data_dir=folder / "data",
        manual_dir=folder / "manual" / ("listops-1000" if name == "listops" else ""),
        out=folder / "run",
        **data,
    )


def metrics(config):
    return [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", SOURCES)
def test_a_task_trains_evaluates_and_resumes_from_its_published_files(name, tmp_path):
    config = tiny(name, tmp_path)
    summary = lra.main(config)
    (row,) = summary["rows"]
    assert (row["variant"], row["steps"], row["data"]) == ("baseline", 2, config.data().source)
    assert row["test_examples"] == config.data().sizes()["test"]
    assert math.isfinite(row["test_loss"])
    assert len(summary["data"]) == 3
    assert not config.data().is_stand_in
    hits = example_hits.load(run.Run(config.out), "baseline", 0)
    assert hits is not None
    assert hits.last.mean() == pytest.approx(row["test_accuracy"])
    more = lra.main(dataclasses.replace(config, resume=True, seeds=(0, 1)))
    assert more["rows"][0] == row
    assert [other["seed"] for other in more["rows"]] == [0, 1]
    assert more["data"] == summary["data"]


def test_sigterm_then_resume_leaves_the_metrics_of_an_uninterrupted_run(tmp_path, monkeypatch):
    straight = tiny("retrieval", tmp_path)
    summary = lra.main(straight)
    config = dataclasses.replace(straight, out=tmp_path / "stopped")
    batch = program.batch

    def batch_with_signal(config, split, mesh, *, seed, step):
        if step == 1:
            signal.raise_signal(signal.SIGTERM)
        return batch(config, split, mesh, seed=seed, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(program, "batch", batch_with_signal)
        with pytest.raises(SystemExit) as stopped:
            lra.main(dataclasses.replace(config, steps=2))
    assert stopped.value.code == 143
    assert not (config.out / "summary.json").exists()
    resumed = lra.main(dataclasses.replace(config, resume=True))
    assert metrics(config) == metrics(straight)
    names = ("test_loss", "test_accuracy", "val_loss", "val_accuracy", "parameters")
    for row, expected in zip(resumed["rows"], summary["rows"], strict=True):
        assert [row[name] for name in names] == [expected[name] for name in names]


@pytest.mark.parametrize("name", SOURCES)
def test_another_folder_is_refused_with_the_files_that_belong_there(name, tmp_path):
    (tmp_path / "manual" / "listops-1000").mkdir(parents=True)
    config = tiny(name, tmp_path, write=False)
    with pytest.raises(FileNotFoundError) as error:
        lra.main(config)
    assert EXPECTED[name] in str(error.value)
    assert str(tmp_path / "manual") in str(error.value)
    assert not list((tmp_path / "data").glob("arrays/*/manifest.json"))


def test_a_broken_image_is_named_and_the_repaired_release_is_read(tmp_path):
    config = tiny("pathfinder", tmp_path)
    path = tmp_path / "manual" / HARD / "imgs" / "1" / "sample_3.png"
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(ValueError, match=r"whole gray PNG: .*imgs/1/sample_3.png cannot be read"):
        lra.main(config)
    assert not list((tmp_path / "data").glob("arrays/*/manifest.json"))
    path.write_bytes(content)
    assert not config.out.exists()
    assert lra.main(config)["rows"][0]["steps"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.split(b"\r\n", 1)[1], "the header of basic_train.tsv is"),
        (lambda content: content.replace(b"\r\n", b"\r\n\r\n", 3), "row 1 of basic_train.tsv"),
        (lambda content: content[:-9], "row 12 of basic_train.tsv"),
    ],
)
def test_a_damaged_file_of_listops_is_named_with_its_row(change, words, tmp_path):
    config = tiny("listops", tmp_path)
    config = dataclasses.replace(config, release=Release(12, 4, 4))
    path = config.manual_dir / "basic_train.tsv"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="ListOps file") as error:
        lra.main(config)
    assert words in str(error.value)
    assert not list((tmp_path / "data").glob("arrays/*/manifest.json"))
