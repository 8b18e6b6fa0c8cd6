"""CIFAR-10 [Krizhevsky 2009]: from TFDS, or from the original archive of the binary version.

TFDS orders the images by the hash of their places, and the benchmark takes the first 90 % of this order for training.
The archive has another order, so the same rule gives another split.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from experiments.data.image.grayscale import SIDE, to_gray
from experiments.data.preparation.archive_members import members
from experiments.data.preparation.published_tfds import open_published
from experiments.data.preparation.row_builder import Row

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin/"
NAME = "cifar10"
RECORD = 1 + 3 * SIDE**2
"""Bytes of an image in the archive: its label, then the planes red, green and blue."""
TRAIN, TEST = 50_000, 10_000


def published_images(
    source: str, split: str, *, data_dir: Path, manual_dir: Path | None
) -> Iterator[tuple[UInt8[np.ndarray, "32 32 3"], int]]:
    """Yield (image, label) of a published split in the order of the source.

    Args:
        source: "tfds" or "original".
        split: "train" or "test".
        data_dir: folder of prepared data.
        manual_dir: data folder of TFDS, or folder that has `cifar-10-binary.tar.gz`.

    Raises:
        FileNotFoundError: the manual folder does not have the data.
        ValueError: the data is incomplete or damaged, or it cannot be downloaded.
    """
    if source == "original":
        return _archived(cifar_archive(manual_dir), split)
    published = open_published(NAME, (split,), data_dir=data_dir, manual_dir=manual_dir)[split]
    examples = (published[i] for i in range(len(published)))
    return ((example["image"], int(example["label"])) for example in examples)


def gray_rows(images: Iterator[tuple[UInt8[np.ndarray, "32 32 3"], int]]) -> Iterator[Row]:
    """Yield the gray values of color images, row by row of the image.

    Args:
        images: pairs (image, label).
    """
    for image, label in images:
        yield Row(label, to_gray(image[None]).reshape(-1))


def cifar_archive(manual_dir: Path | None) -> Path:
    """Return the path of the original archive in a folder.

    Raises:
        FileNotFoundError: there is none. The message says what is needed.
    """
    path = Path() if manual_dir is None else manual_dir / ARCHIVE
    if not path.is_file():
        place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without it"
        inside = [] if manual_dir is None else [p.name for p in manual_dir.glob("cifar-10*")]
        raise FileNotFoundError(
            f"the archive {ARCHIVE} of CIFAR-10 (the binary version) is needed, got {place}"
            f"{f', but with {inside[0]}' if inside else ''}; download the archive from its author "
            "(cs.toronto.edu/~kriz/cifar.html), and pass its folder as the manual folder."
        )
    return path


def _archived(path: Path, split: str) -> Iterator[tuple[UInt8[np.ndarray, "32 32 3"], int]]:
    start = f"{FOLDER}{'data_batch_' if split == 'train' else 'test_batch'}"
    for name, content in sorted(members(path, start)):
        if not content or len(content) % RECORD:
            raise ValueError(
                f"a batch of CIFAR-10 has records of {RECORD} bytes, got {len(content):,} bytes in {name} of {path}; "
                "download the archive again."
            )
        for record in np.frombuffer(content, np.uint8).reshape(-1, RECORD):
            if record[0] > 9:
                raise ValueError(
                    f"a label of CIFAR-10 is 0 to 9, got {record[0]} in {name} of {path}; take the binary version of "
                    "CIFAR-10, not of CIFAR-100."
                )
            yield record[1:].reshape(3, SIDE, SIDE).transpose(1, 2, 0), int(record[0])
