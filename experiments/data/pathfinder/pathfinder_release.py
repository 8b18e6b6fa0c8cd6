"""The published Pathfinder images, `pathfinder32/curv_contour_length_14/{imgs,metadata}` of the release.

A file `metadata/N.npy` is no array. It is text, and each line describes an image:
`imgs/N sample_K.png K label continuity length …`, with label 0 or 1. Blank lines and both kinds of line ends are read.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from experiments.data.preparation.file_hashes import FileHashes, joint_hash

CONTOUR_FOLDERS = {6: "curv_baseline", 9: "curv_contour_length_9", 14: "curv_contour_length_14"}
"""Segments of a long contour -> folder of its images."""
DIFFICULTIES = {6: "easy", 9: "intermediate", 14: "hard"}
"""Segments of a long contour -> name of the set in the benchmark's TFDS builder, which decides about its order."""
KNOWN_EMPTY = ("pathfinder32", "curv_baseline", "imgs", "0", "sample_172.png")
"""The image that is empty in the release; it is left out if it is empty."""
LABEL_COLUMN = 3
SOURCE = "extract lra_release.gz of the Long Range Arena again, or generate the data"


class Sample(NamedTuple):
    """A published image."""

    path: Path
    """The PNG file."""
    label: int
    """1 if one contour has both markers."""


def release_folder(manual_dir: Path | None, *, size: int, contour: int) -> Path:
    """Return the folder of an image size and a contour length.

    Args:
        manual_dir: the release as it was extracted, its inner folder, `pathfinder32`, or the folder of the contours.
        size: height and width of an image.
        contour: segments of a long contour: 6, 9 or 14.

    Raises:
        FileNotFoundError: it is not there. The message names the expected place.
    """
    set_folder, name = f"pathfinder{size}", CONTOUR_FOLDERS[contour]
    expected = f"lra_release/lra_release/{set_folder}/{name}/metadata"
    if manual_dir is None:
        raise FileNotFoundError(
            f"the published Pathfinder images are needed, got no manual folder; extract {expected} and its imgs from "
            f"lra_release.gz and pass the folder, or generate the data."
        )
    places = ("lra_release/lra_release", "lra_release", ".")
    folders = [manual_dir / place / set_folder / name for place in places] + [manual_dir / name, manual_dir]
    for folder in folders:
        if folder.name == name and (folder / "metadata").is_dir():
            return folder
    kind = (
        "which is a file and no folder"
        if manual_dir.is_file()
        else f"which has no {set_folder}/{name}/metadata"
    )
    raise FileNotFoundError(
        f"the published Pathfinder images are needed, got the folder {manual_dir}, {kind}; extract {expected} and its "
        f"imgs from lra_release.gz and pass the folder, or generate the data."
    )


def metadata_files(folder: Path) -> list[Path]:
    """Return the metadata files of a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    paths = sorted((folder / "metadata").glob("*.npy"))
    if not paths:
        raise FileNotFoundError(
            f"Pathfinder labels are read from {folder / 'metadata'}/0.npy and others, got no .npy file there; {SOURCE}."
        )
    return paths


def content_hash(folder: Path, hashes: FileHashes) -> str:
    """Return the joint SHA-256 of the metadata files, which name and describe every image of a release."""
    return joint_hash([hashes.sha256(path) for path in metadata_files(folder)])


def release_splits(folder: Path, *, contour: int) -> dict[str, list[Sample]]:
    """Return the images of the splits train, val and test, 80 / 10 / 10 %.

    Their order is that of the benchmark's TFDS builder: by the MD5 of the set's name and a key of subfolder, file
    and line number. That builder runs in Beam, so its order here follows from the code of TFDS and not from a run.

    Args:
        folder: folder of `imgs` and `metadata`.
        contour: segments of a long contour.

    Raises:
        FileNotFoundError: images are missing. The message has the first one and their number.
        ValueError: a line of the metadata is malformed, or an image is empty.
    """
    salt = hashlib.md5(DIFFICULTIES[contour].encode())
    keyed: list[tuple[bytes, Sample]] = []
    for path in metadata_files(folder):
        for number, columns in _lines(path):
            digest = salt.copy()
            digest.update(f"{columns[0]}_{columns[1]}_{number}".encode())
            sample = Sample(folder / columns[0] / columns[1], int(columns[LABEL_COLUMN]))
            keyed.append((digest.digest(), sample))
    samples = [sample for _, sample in sorted(keyed)]
    _check_files(samples)
    bounds = [round(len(samples) * share) for share in (0, 0.8, 0.9, 1)]
    return {
        split: [sample for sample in samples[start:end] if not is_known_empty(sample.path)]
        for split, start, end in zip(("train", "val", "test"), bounds, bounds[1:], strict=False)
    }


def is_known_empty(path: Path) -> bool:
    """Return whether this is the image that is empty in the release, and it is empty here."""
    return path.parts[-len(KNOWN_EMPTY) :] == KNOWN_EMPTY and path.stat().st_size == 0


def read_image(path: Path, size: int) -> UInt8[np.ndarray, " T"]:
    """Return the pixels of an image, row by row.

    Args:
        path: the PNG file.
        size: height and width.

    Raises:
        ValueError: the file is damaged, or the image has another size or other colors.
    """
    try:
        with Image.open(path) as image:
            mode, shape, pixels = image.mode, image.size, np.asarray(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise _damaged(path, f"cannot be read ({error})") from None
    if mode != "L" or shape != (size, size):
        raise _damaged(
            path, f"has mode {mode} and {shape[0]} x {shape[1]} pixels, expected L and {size} x {size}"
        )
    return pixels.ravel()


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, columns) of the lines of a metadata file."""
    content = path.read_bytes()
    if content.startswith(b"\x93NUMPY"):
        raise ValueError(
            f"Pathfinder metadata are lines of text in spite of their suffix, got a NumPy array in {path}; {SOURCE}."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Pathfinder metadata are lines of text, got byte {content[error.start]:#04x} in {path}; {SOURCE}."
        ) from None
    lines = [(number, line.split()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, columns in lines:
        if len(columns) <= LABEL_COLUMN or columns[LABEL_COLUMN] not in ("0", "1"):
            raise ValueError(
                f"a line of Pathfinder metadata has a folder, a file, a number and a label 0 or 1, got "
                f"{' '.join(columns)[:60]!r} in line {number} of {path}; {SOURCE}."
            )
    return lines


def _check_files(samples: list[Sample]) -> None:
    """Check that every image is there before the first is read."""
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"the metadata name {len(samples):,} Pathfinder images, {len(missing):,} are missing, the first is "
            f"{missing[0]}; {SOURCE}."
        )
    for path in (sample.path for sample in samples if sample.path.stat().st_size == 0):
        if not is_known_empty(path):
            raise _damaged(path, "is empty")


def _damaged(path: Path, fault: str) -> ValueError:
    return ValueError(f"a Pathfinder image is a whole gray PNG: {path} {fault}; {SOURCE}.")
