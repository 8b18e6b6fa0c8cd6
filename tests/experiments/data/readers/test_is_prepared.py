"""What the configurations of the tasks know of prepared data: of published files with and without their folder."""

import dataclasses
from typing import Any

import pytest

from experiments.data import listops
from experiments.data.image import ImageConfig, image_config
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.pathfinder import PathfinderConfig
from experiments.data.preparation.file_hashes import known_content
from experiments.data.retrieval import RetrievalConfig
from experiments.data.text import TextConfig
from tests.experiments.data.readers.miniatures import write_tfds
from tests.experiments.data.readers.official_layout import (
    REVIEWS,
    TEST_IMAGES,
    write_cifar,
    write_imdb,
    write_listops,
    write_pairs,
    write_pathfinder,
)

SIZES: Any = {"train": 4, "val": 2, "test": 2}
LISTS = ListOpsData(listops.ListOpsConfig(source="lra_release", **SIZES), max_len=29)
PUBLISHED: Any = {
    "listops": (LISTS, write_listops, lambda folder: write_listops(folder, seed=1)),
    "text": (
        TextConfig("original", max_len=9, **{**SIZES, "train": 18}),
        write_imdb,
        lambda folder: write_imdb(folder, order=("pos", "neg")),
    ),
    "image": (
        ImageConfig("original", **SIZES),
        write_cifar,
        lambda folder: write_cifar(folder, **{"batches.meta.txt": b"other"}),
    ),
    "retrieval": (
        RetrievalConfig(max_len=9, **SIZES),
        write_pairs,
        lambda folder: write_pairs(folder, train=9),
    ),
    "pathfinder": (
        PathfinderConfig("lra_release", **SIZES),
        write_pathfinder,
        lambda folder: write_pathfinder(folder, seed=1),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_data_are_prepared_whether_or_not_their_folder_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(image_config, "CIFAR_SIZES", {"train": 18, "val": 2, "test": len(TEST_IMAGES)})
    config, write, write_other = PUBLISHED[name]
    data, manual, other = (tmp_path / part for part in ("data", "manual", "other"))
    write(manual)
    write_other(other)
    assert not config.is_prepared(data)
    assert not config.is_prepared(data, manual)
    config.prepare(data, manual_dir=manual)
    assert config.is_prepared(data)
    assert config.is_prepared(data, manual)
    assert not config.is_prepared(data, other)  # other files are other data
    assert not config.is_prepared(data, tmp_path / "nowhere")
    smaller = (
        dataclasses.replace(config, config=dataclasses.replace(config.config, train=3))
        if name == "listops"
        else dataclasses.replace(config, train=3)
    )
    assert not smaller.is_prepared(data)
    assert not smaller.is_prepared(data, manual)


def test_data_of_tfds_are_prepared_whatever_the_folder(tmp_path):
    manual = write_tfds(tmp_path / "manual", "imdb_reviews", REVIEWS)
    config = TextConfig("tfds", max_len=9, **{**SIZES, "train": 18})
    assert not config.is_prepared(tmp_path, manual)
    config.prepare(tmp_path, manual_dir=manual)
    assert config.is_prepared(tmp_path)
    assert config.is_prepared(tmp_path, tmp_path / "nowhere")
    assert not dataclasses.replace(config, seed=1).is_prepared(tmp_path)
    assert not dataclasses.replace(config, max_len=8).is_prepared(tmp_path)


def test_the_content_of_published_files_is_any_without_their_folder(tmp_path):
    def read(folder):
        return (folder / "hash").read_text()

    assert known_content(read, None) == "*"
    assert known_content(read, tmp_path) is None
    (tmp_path / "hash").write_text("abc")
    assert known_content(read, tmp_path) == "abc"
