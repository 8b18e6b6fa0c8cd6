"""Pathfinder data sets: generated in shards by several processes, continued after a kill, the same for everybody."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.data import arrays, pathfinder
from experiments.data.pathfinder import PathfinderConfig, generation_process, image_shards

ROOT = Path(__file__).parents[3]
TINY = PathfinderConfig(contour=6, train=25, val=10, test=7, seed=3, workers=1)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(image_shards, "IMAGES_PER_SHARD", 10)
    monkeypatch.setattr("experiments.data.pathfinder.pathfinder_config.IMAGES_PER_SHARD", 10)


def kill_after(monkeypatch, shards):
    """Let the generation end the process after this many shards, and return the list of those that it generates."""
    generated, generate_shard = [], generation_process.generate_shard

    def short_lived(shard):
        if len(generated) == shards:
            raise Killed
        generated.append(shard)
        return generate_shard(shard)

    monkeypatch.setattr(image_shards, "generate_shard", short_lived)
    return generated


def remains(folder):
    names = ("incomplete.", ".partial", ".part", "generation-")
    return [path.name for path in folder.rglob("*") if any(name in path.name for name in names)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_shards, "IMAGES_PER_SHARD", 10)
        patch.setattr("experiments.data.pathfinder.pathfinder_config.IMAGES_PER_SHARD", 10)
        return TINY.prepare(tmp_path_factory.mktemp("whole"))


def test_rows_are_the_images_of_the_generator(whole):
    for place, (name, size) in enumerate(TINY.sizes().items()):
        split = whole[name]
        assert split.tokens.shape == (size, 1024)
        assert split.lengths.tolist() == [1024] * size
        assert (split.first_id, split.classes, len(split.vocabulary)) == (1, 2, 257)
        images, labels = pathfinder.generate(min(size, 10), seed=(3, place, 0), contour=6)
        np.testing.assert_array_equal(split.tokens[:10], images.reshape(len(images), -1))
        np.testing.assert_array_equal(split.labels[:10], labels)
    images, _ = pathfinder.generate(5, seed=(3, 0, 2), contour=6)
    np.testing.assert_array_equal(whole["train"].tokens[20:], images.reshape(5, -1))


def test_black_pixels_are_tokens_and_padding_is_not(whole):
    batch = arrays.batch(whole["train"], 2, seed=0, step=0)
    inputs = arrays.model_inputs(batch.tokens, batch.lengths, whole["train"].first_id)
    assert np.asarray(inputs.ids).min() == 1
    assert np.asarray(inputs.ids).max() == 256
    assert np.asarray(inputs.segment_ids).all()


def test_splits_share_no_image(whole):
    rows = [row.tobytes() for split in whole.values() for row in np.asarray(split.tokens)]
    assert len(set(rows)) == len(rows) == 42


def test_smaller_splits_are_the_first_images_of_larger_ones(whole, tmp_path):
    splits = dataclasses.replace(TINY, train=12, val=3, test=1).prepare(tmp_path)
    for name, split in splits.items():
        np.testing.assert_array_equal(split.tokens, whole[name].tokens[: len(split.labels)])


@pytest.mark.parametrize("shards", [0, 1, 4])
def test_a_generation_that_is_killed_goes_on(whole, tmp_path, monkeypatch, shards):
    with monkeypatch.context() as patch:
        kill_after(patch, shards)
        with contextlib.suppress(Killed):
            TINY.prepare(tmp_path)
    with monkeypatch.context() as patch:
        generated = kill_after(patch, 10)
        splits = TINY.prepare(tmp_path)
    assert len(generated) == 5 - shards
    assert remains(tmp_path) == []
    for name, split in splits.items():
        assert split.sha256 == whole[name].sha256


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_shard_is_generated_again(tmp_path, damage):
    shards = image_shards.split_shards(tmp_path, TINY.sizes(), seed=3, size=32, contour=6)["train"]
    image_shards.write_shards(shards, workers=1, title="generating")
    content = shards[1].path.read_bytes()
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "text": b"no archive"}
    shards[1].path.write_bytes(damaged.get(damage, shards[2].path.read_bytes()))
    expected, labels = pathfinder.generate(10, seed=(3, 0, 1), contour=6)
    restored = image_shards.read_shard(shards[1])
    np.testing.assert_array_equal(restored.images, expected)
    np.testing.assert_array_equal(restored.labels, labels)


def test_several_processes_generate_the_same_images(whole, tmp_path):
    splits = dataclasses.replace(TINY, workers=2).prepare(tmp_path)
    assert {name: split.sha256 for name, split in splits.items()} == {
        name: split.sha256 for name, split in whole.items()
    }


def test_prepared_images_are_generated_once_and_verified(tmp_path, monkeypatch, capfd):
    splits = TINY.prepare(tmp_path)
    output = capfd.readouterr()
    assert output.out == ""
    assert "generating Pathfinder32, contours of 6 (regenerated) once, for this" in output.err
    assert "train 25 / val 10 / test 7" in output.err
    kill_after(monkeypatch, 0)
    again = TINY.prepare(tmp_path, verify=True)
    assert again["test"].sha256 == splits["test"].sha256
    assert capfd.readouterr().err == ""
    (path,) = tmp_path.glob("arrays/*/val.x.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="val.x.npy has SHA-256"):
        TINY.prepare(tmp_path, verify=True)


SCRIPT = """
import sys
from pathlib import Path
from experiments.data.pathfinder import PathfinderConfig
if __name__ == "__main__":
    PathfinderConfig(contour=6, train=6000, val=10, test=10, workers=2).prepare(Path(sys.argv[1]))
"""


@pytest.mark.exhaustive
def test_a_killed_process_takes_its_workers_along_and_its_shards_stay(tmp_path):
    script = tmp_path / "prepare.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "data")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while len(list(tmp_path.glob("data/generation-*/*.npz"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not list(tmp_path.glob("data/arrays/*/manifest.json"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("data/generation-*/*.npz")}
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None:
        for path, change in before.items():
            with contextlib.suppress(FileNotFoundError):  # removed at the end
                assert path.stat().st_mtime_ns == change
        time.sleep(0.05)
    assert process.returncode == 0
    assert len(list(tmp_path.glob("data/arrays/*/manifest.json"))) == 1
    assert remains(tmp_path) == []


def children(pid):
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listing.split()]


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "tfds"}, "source 'generated' or 'lra_release'"),
        ({"train": 0}, "split sizes >= 1"),
        ({"size": 33}, "size among 32, 64, 128, 256, got 33"),
        ({"contour": 1}, "3 segments or more, got contour=1"),
        ({"source": "lra_release", "contour": 7}, "contours of 6, 9, 14 segments, got contour=7"),
        ({"seed": -1}, "seed from 0 to 2\\*\\*32 - 1 and workers >= 0, got seed=-1"),
        ({"seed": 2**32}, "got seed=4294967296"),
        ({"workers": -2}, "workers=-2"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(TINY, **changes)


def test_titles_say_what_the_images_are():
    published = PathfinderConfig(source="lra_release")
    assert PathfinderConfig().title == "Pathfinder32 (regenerated)"
    assert PathfinderConfig(size=128).title == "Path-X (regenerated)"
    assert published.title == "Pathfinder32 (published images)"
    assert TINY.title == "Pathfinder32, contours of 6 (regenerated)"
    assert [config.is_stand_in for config in (PathfinderConfig(), published, TINY)] == [False, False, True]
    assert PathfinderConfig(size=64).is_stand_in
    assert PathfinderConfig(size=128).max_len == 16384
    assert PathfinderConfig().floors == {"majority class": 0.5, "linear probe on pixels": 0.514}
    assert PathfinderConfig(size=128).floors == {"majority class": 0.5}
