"""A preparation that is killed goes on where it was, leaves nothing behind, and speaks in its own words."""

import contextlib
import dataclasses
import random
import shutil
from typing import Any

import numpy as np
import pytest

from experiments import lra
from experiments.data import arrays, listops
from experiments.data.listops import distinct_sequences, listops_builder
from experiments.data.listops.distinct_sequences import distinct
from experiments.lra import program

SHORT: dict[str, Any] = {"min_length": 3, "max_length": 30}
TINY = listops.ListOpsConfig(**SHORT, train=60, val=20, test=20)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(distinct_sequences, "ROWS_PER_SHARD", 16)


def kill_after(monkeypatch, draws):
    """Let the stream of trees end the process after this many draws."""
    stream = distinct_sequences.stream

    def short_lived(rng, **lengths):
        for number, tree in enumerate(stream(rng, **lengths)):
            if number == draws:
                raise Killed
            yield tree

    monkeypatch.setattr(distinct_sequences, "stream", short_lived)


@pytest.mark.parametrize("draws", [0, 5, 17, 40, 90])
def test_a_generation_that_is_killed_again_and_again_gives_the_same_sequences(tmp_path, monkeypatch, draws):
    expected = distinct(100, seed=5, **SHORT)
    with monkeypatch.context() as patch:
        kill_after(patch, draws)
        with pytest.raises(Killed):
            distinct(100, seed=5, **SHORT, shards=tmp_path / "shards")
        with contextlib.suppress(Killed):  # it begins after the last shard, so it may come to the end
            distinct(100, seed=5, **SHORT, shards=tmp_path / "shards")
    assert distinct(100, seed=5, **SHORT, shards=tmp_path / "shards") == expected


def test_a_finished_generation_draws_nothing_again(tmp_path, monkeypatch):
    expected = distinct(96, seed=5, **SHORT, shards=tmp_path)  # six shards
    kill_after(monkeypatch, 0)
    assert distinct(96, seed=5, **SHORT, shards=tmp_path) == expected


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing"])
def test_a_damaged_shard_is_generated_again(tmp_path, damage):
    expected = distinct(100, seed=5, **SHORT, shards=tmp_path)
    path = tmp_path / "00002.npz"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"no archive"}[damage])
    assert distinct(100, seed=5, **SHORT, shards=tmp_path) == expected
    assert path.read_bytes()[:2] == b"PK"


def test_too_few_sequences_are_refused_with_the_same_words_after_a_kill(tmp_path, monkeypatch):
    bounds = {"min_length": 0, "max_length": 3}
    monkeypatch.setattr(distinct_sequences, "ROWS_PER_SHARD", 4)
    for _ in range(2):
        with pytest.raises(
            ValueError, match="20 different ones of 1 to 2 tokens are needed, got 10 among 1400"
        ):
            distinct(20, seed=0, **bounds, shards=tmp_path)


def build(folder):
    builder = listops.ListOps(config=TINY, data_dir=folder, file_format="array_record")
    return arrays.prepare(builder, max_len=30, data_dir=folder)


def remains(folder):
    names = ("incomplete.", ".partial", ".part", "generation-")
    return [path.name for path in folder.rglob("*") if any(name in path.name for name in names)]


def test_what_a_killed_preparation_leaves_is_used_and_then_removed(tmp_path, monkeypatch):
    expected = build(tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_after(patch, 70)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process removes nothing
        with pytest.raises(Killed):
            build(tmp_path / "killed")
    left_behind = remains(tmp_path / "killed")
    assert any(name.startswith("incomplete.") for name in left_behind)
    assert any(name.startswith("generation-") for name in left_behind)
    splits = build(tmp_path / "killed")
    assert remains(tmp_path / "killed") == []
    for name, split in splits.items():
        np.testing.assert_array_equal(split.tokens, expected[name].tokens)
        np.testing.assert_array_equal(split.labels, expected[name].labels)


def test_a_preparation_that_is_killed_while_it_writes_draws_no_sequence_again(tmp_path, monkeypatch):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(listops_builder.ListOps, "_generate_examples", die)
        patch.setattr(distinct_sequences, "ROWS_PER_SHARD", 20)
        with pytest.raises(Killed):
            build(tmp_path)
    kill_after(monkeypatch, 0)
    monkeypatch.setattr(distinct_sequences, "ROWS_PER_SHARD", 20)
    assert len(build(tmp_path)["train"].labels) == 60
    assert remains(tmp_path) == []


def test_a_preparation_speaks_of_sequences_and_not_of_downloads(tmp_path, capfd, caplog):
    quick = lra.PRESETS["quick"][1]
    generated = lra.Generated(**SHORT, train=60, val=20, test=20)
    splits = program.prepare(dataclasses.replace(quick, generated=generated, data_dir=tmp_path))
    assert len(splits["train"].labels) == 60
    output = capfd.readouterr()
    assert output.out == ""
    assert "generating ListOps once" in output.err
    for word in ("Unknown size", "Downloading", "Shuffling", "splits/s", "absl", "WARNING", "configuration"):
        assert word not in output.err + caplog.text
    assert all(len(line) <= 80 for line in output.err.splitlines())


def test_the_stream_of_a_seed_is_not_touched_by_other_draws(tmp_path):
    random.seed(0)
    first = distinct(40, seed=5, **SHORT, shards=tmp_path)
    random.random()
    assert distinct(40, seed=5, **SHORT) == first


@pytest.mark.parametrize("name", ["a=[0.1]", "a*b", "a?", "a b", "ä", "50%"])
def test_a_data_folder_with_any_name_serves(tmp_path, name):
    builder = listops.ListOps(config=TINY, data_dir=str(tmp_path / name), file_format="array_record")
    splits = arrays.prepare(builder, max_len=30, data_dir=tmp_path / name)
    assert [len(split.labels) for split in splits.values()] == [60, 20, 20]
