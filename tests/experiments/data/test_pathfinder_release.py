"""Published Pathfinder images: every way in which a release arrives, read or refused with its name."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from experiments.data.pathfinder import PathfinderConfig
from experiments.data.pathfinder.pathfinder_release import release_folder, release_splits
from tests.experiments.data.readers.official_layout import HARD, write_pathfinder

EASY = "lra_release/lra_release/pathfinder32/curv_baseline"
CONFIG = PathfinderConfig(source="lra_release", train=16, val=2, test=2)


def test_rows_are_the_images_in_the_order_of_the_builder_of_the_benchmark(tmp_path):
    expected = write_pathfinder(tmp_path)
    splits = CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path)
    keys = sorted(expected, key=lambda key: int(hashlib.md5(f"hard{key}".encode()).hexdigest(), 16))
    assert len(keys) == 20
    for name, part in (("train", keys[:16]), ("val", keys[16:18]), ("test", keys[18:])):
        np.testing.assert_array_equal(splits[name].tokens, [expected[key][0] for key in part])
        assert splits[name].labels.tolist() == [expected[key][1] for key in part]
        assert splits[name].first_id == 1
    first = dataclasses.replace(CONFIG, train=3, val=1, test=1).prepare(
        tmp_path / "data", manual_dir=tmp_path
    )
    np.testing.assert_array_equal(first["train"].tokens, splits["train"].tokens[:3])


@pytest.mark.parametrize(
    "place", ["", "lra_release", "lra_release/lra_release", HARD.rsplit("/", 1)[0], HARD]
)
def test_any_folder_of_the_release_serves(tmp_path, place):
    write_pathfinder(tmp_path)
    assert release_folder(tmp_path / place, size=32, contour=14) == tmp_path / HARD


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\n\n") + b"\n \n",
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.rstrip(b"\n"),
    ],
)
def test_line_ends_blank_lines_and_marks_are_read(tmp_path, change):
    write_pathfinder(tmp_path)
    labels = sorted(s.label for part in release_splits(tmp_path / HARD, contour=14).values() for s in part)
    path = tmp_path / HARD / "metadata" / "1.npy"
    path.write_bytes(change(path.read_bytes()))
    splits = release_splits(tmp_path / HARD, contour=14)
    assert [len(part) for part in splits.values()] == [16, 2, 2]
    assert sorted(sample.label for part in splits.values() for sample in part) == labels


def test_the_image_that_is_empty_in_the_release_is_left_out(tmp_path):
    write_pathfinder(tmp_path, folder=EASY)
    metadata = tmp_path / EASY / "metadata" / "0.npy"
    metadata.write_text(metadata.read_text().replace("sample_7.png", "sample_172.png"))
    (tmp_path / EASY / "imgs" / "0" / "sample_172.png").write_bytes(b"")
    config = dataclasses.replace(CONFIG, contour=6)
    splits = config.prepare(tmp_path / "data", manual_dir=tmp_path)
    assert sum(len(split.labels) for split in splits.values()) == 19


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b""), "sample_3.png is empty; extract lra_release.gz"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "sample_3.png cannot be read"),
        (lambda path: path.write_bytes(b"<html>404</html>"), "sample_3.png cannot be read"),
        (
            lambda path: Image.new("L", (64, 64)).save(path),
            "mode L and 64 x 64 pixels, expected L and 32 x 32",
        ),
        (lambda path: Image.new("RGB", (32, 32)).save(path), "mode RGB and 32 x 32 pixels"),
    ],
)
def test_a_broken_image_is_named(tmp_path, write, words):
    write_pathfinder(tmp_path)
    write(tmp_path / HARD / "imgs" / "1" / "sample_3.png")
    with pytest.raises(ValueError, match="whole gray PNG") as error:
        CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path)
    assert words in str(error.value)
    assert not list((tmp_path / "data").glob("arrays/*/manifest.json"))


def test_missing_images_are_counted_before_anything_is_written(tmp_path):
    write_pathfinder(tmp_path)
    for sample in (3, 4, 5):
        (tmp_path / HARD / "imgs" / "1" / f"sample_{sample}.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"name 20 Pathfinder images, 3 are missing, the first is .*imgs/1"
    ):
        CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path)
    assert not list((tmp_path / "data").glob("arrays/*/manifest.json"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"subdir file idx label\n", "label 0 or 1, got 'subdir file idx label' in line 1 of"),
        (b"imgs/0 sample_0.png 0\n", "got 'imgs/0 sample_0.png 0' in line 1"),
        (b"imgs/0 sample_0.png 0 1\nimgs/0 sample_1.png 1 2\n", "in line 2 of"),
        (b"\x93NUMPY\x01\x00v\x00", "got a NumPy array in"),
        (b"\x1f\x8b\x08", "got byte 0x8b in"),
    ],
)
def test_other_metadata_are_named(tmp_path, content, words):
    write_pathfinder(tmp_path)
    (tmp_path / HARD / "metadata" / "0.npy").write_bytes(content)
    with pytest.raises(ValueError, match="Pathfinder metadata") as error:
        CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path)
    assert words in str(error.value)
    assert "0.npy" in str(error.value)


def test_a_wrong_folder_is_named_with_what_belongs_there(tmp_path):
    expected = "extract lra_release/lra_release/pathfinder32/curv_contour_length_14/metadata and its imgs"
    write_pathfinder(tmp_path / "other", folder=HARD.replace("32", "64"))
    archive = tmp_path / "lra_release.gz"
    archive.write_bytes(b"")
    for folder, words in (
        (None, "got no manual folder"),
        (tmp_path / "nowhere", "has no pathfinder32"),
        (tmp_path / "other", "has no pathfinder32"),
        (archive, "is a file and no folder"),
    ):
        with pytest.raises(FileNotFoundError, match="published Pathfinder images are needed") as error:
            CONFIG.prepare(tmp_path / "data", manual_dir=folder)
        assert words in str(error.value)
        assert expected in str(error.value)
    write_pathfinder(tmp_path)
    for path in (tmp_path / HARD / "metadata").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no .npy file there"):
        CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path)
    assert not (tmp_path / "data" / "arrays").exists()


def test_more_images_than_the_folder_has_are_refused(tmp_path):
    write_pathfinder(tmp_path)
    with pytest.raises(
        ValueError, match="has 16 images in this folder, got train=17; take 1 to 16, or extract"
    ):
        dataclasses.replace(CONFIG, train=17).prepare(tmp_path / "data", manual_dir=tmp_path)


def test_another_release_is_other_data(tmp_path):
    write_pathfinder(tmp_path / "a", seed=0)
    write_pathfinder(tmp_path / "b", seed=1)
    write_pathfinder(tmp_path / "c", seed=0)
    first, second, moved = (
        CONFIG.prepare(tmp_path / "data", manual_dir=tmp_path / name)["train"].sha256 for name in "abc"
    )
    assert first != second
    assert first == moved
    assert len([path for path in (tmp_path / "data" / "arrays").iterdir() if path.is_dir()]) == 2
