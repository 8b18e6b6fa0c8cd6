"""Data sets that TFDS publishes, as random-access sources without TensorFlow."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from rich.console import Console

from experiments.data.preparation.tfds_files import prepare_files, without_messages

DOWNLOAD_PACKAGES = ("tensorflow", "importlib_resources")
"""Packages that TFDS needs to prepare these data sets and does not install. Prepared ones are read without them."""


def open_published(
    name: str, splits: Sequence[str], *, data_dir: Path, manual_dir: Path | None
) -> dict[str, Any]:
    """Return a sequence of examples for each split of a TFDS data set; download it if no folder is passed.

    Args:
        name: name in the catalog of TFDS, for example "cifar10".
        splits: names of the splits.
        data_dir: folder of prepared data; a download is stored in its folder `tfds`.
        manual_dir: data folder of TFDS, which has the prepared data set as `manual_dir`/name/…; nothing is written
            there. None downloads.

    Raises:
        FileNotFoundError: the folder has no such data set, or it has another version of it.
        ValueError: the files are damaged or in another format, or the download is impossible.
    """
    root = data_dir / "tfds" if manual_dir is None else manual_dir
    folder = root / _full_name(name, root)
    if manual_dir is None and not folder.exists():
        _download(name, root, folder)
    if manual_dir is not None and not folder.is_dir():
        raise FileNotFoundError(_missing(name, root, folder))
    _check_format(name, folder)
    builder = _make_builder(name, root)
    if (folder / "dataset_info.json").is_file():
        for split in splits:
            _check_files(name, folder, builder.info.splits, split)
    return {split: builder.as_data_source(split) for split in splits}


def _make_builder(name: str, root: Path) -> Any:
    with without_messages():
        return tfds.builder(name, data_dir=str(root), file_format="array_record")


def _full_name(name: str, root: Path) -> str:
    """Return name, configuration and version, as TFDS nests the folders."""
    with without_messages():
        try:
            return tfds.builder(name, data_dir=str(root)).info.full_name
        except Exception as error:  # TFDS reads its description first, and raises what its parser raises
            raise ValueError(
                f"{root / name} must have the description dataset_info.json that TFDS wrote, got damage "
                f"({_first_line(error)}); delete {root / name} and run {_recipe(name)} again."
            ) from None


def _download(name: str, root: Path, folder: Path) -> None:
    if missing := [package for package in DOWNLOAD_PACKAGES if find_spec(package) is None]:
        raise ValueError(
            f"{name} is downloaded by TFDS with {' and '.join(DOWNLOAD_PACKAGES)}, got no {' and no '.join(missing)}; "
            f"install them and run {_recipe(name)}, here or on another machine, and pass its --data_dir as the manual "
            f"folder."
        )
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"downloading {name} by TFDS into {folder}", markup=False
    )
    try:
        prepare_files(_make_builder(name, root), None)
    except Exception as error:  # no network, no space, a package that TFDS needs: they have no common base
        raise ValueError(
            f"{name} is downloaded by TFDS into {folder}, which failed ({type(error).__name__}: "
            f"{_first_line(error)}); run {_recipe(name)} on a machine with network and TensorFlow, and pass its "
            "--data_dir as the manual folder."
        ) from error


def _check_format(name: str, folder: Path) -> None:
    path = folder / "dataset_info.json"
    if not path.is_file():
        return
    file_format = json.loads(path.read_bytes()).get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise ValueError(
            f"{name} must be in array_record files, which are read without TensorFlow, got {file_format} in {folder}; "
            f"run {_recipe(name)} with another --data_dir, and pass that folder."
        )


def _check_files(name: str, folder: Path, published: Any, split: str) -> None:
    """Open every file and compare its number of examples: a file that is cut would give empty examples."""
    if split not in published:
        raise ValueError(
            f"{name} must have the split {split}, got {', '.join(published) or 'none'} in {folder}; delete the folder "
            f"and run {_recipe(name)} again."
        )
    for path, count in zip(published[split].filepaths, published[split].shard_lengths, strict=True):
        try:
            length, fault = len(ArrayRecordDataSource([str(path)])), ""
        except (OSError, RuntimeError) as error:
            length, fault = 0, f" ({_first_line(error) or 'it cannot be read'})"
        if fault or length != count:
            raise ValueError(
                f"{path} must have {count:,} examples, got {length:,}{fault}; delete {folder} and run "
                f"{_recipe(name)} again."
            )


def _missing(name: str, root: Path, folder: Path) -> str:
    versions = sorted(str(path.parent) for path in (root / name).rglob("dataset_info.json"))
    inner = sorted(str(path.parent) for path in root.glob(f"*/{name}")) if root.is_dir() else []
    state, remedy = "is not there", f"run {_recipe(name)}, and pass its --data_dir as the manual folder"
    if versions:
        state = f"is not there, but another version in {versions[0]}"
    elif inner:
        state, remedy = f"is not there, but in {inner[0]}", f"pass {inner[0]} as the manual folder"
    elif folder.parent.is_dir() and list(folder.parent.glob("*incomplete*")):
        state = "is not complete, because its preparation was ended"
    return f"TFDS keeps {name} in {folder}, which {state}; {remedy}."


def _recipe(name: str) -> str:
    return f"`tfds build {name} --file_format=array_record --data_dir=DIR`"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
