"""Data sets that TFDS publishes, as random-access sources without TensorFlow."""

import json
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from experiments.data.preparation.tfds_files import prepare_files, without_messages


def open_published(name: str, *, data_dir: Path, manual_dir: Path | None) -> dict[str, Any]:
    """Return a sequence of examples for each split of a TFDS data set; download it if no folder is passed.

    Args:
        name: name in the catalog of TFDS, for example "cifar10".
        data_dir: folder of prepared data; a download is stored in its folder `tfds`.
        manual_dir: data folder of TFDS, which has the prepared data set as `manual_dir`/name/…; nothing is written
            there. None downloads.

    Raises:
        FileNotFoundError: the folder has no such data set, or it has another version of it.
        ValueError: the files are in another format, or the download is impossible.
    """
    root = data_dir / "tfds" if manual_dir is None else manual_dir
    with without_messages():
        builder = tfds.builder(name, data_dir=str(root))
    folder = root / builder.info.full_name
    if manual_dir is None and not folder.exists():
        _download(name, root, folder)
    if manual_dir is not None and not folder.is_dir():
        raise FileNotFoundError(_missing(name, root, folder))
    _check_format(name, folder)
    with without_messages():
        builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
        open_source: Any = builder.as_data_source
        try:
            return {split: open_source(split) for split in builder.info.splits}
        except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"the files of {name} must be complete, got {folder} ({_first_line(error)}); delete the folder and "
                f"run {_recipe(name)} again."
            ) from None


def _download(name: str, root: Path, folder: Path) -> None:
    try:
        with without_messages():
            builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
        prepare_files(builder, None)
    except Exception as error:  # TFDS has no common base: no network, no space, a package that it needs
        raise ValueError(
            f"{name} is downloaded by TFDS into {folder}, which failed ({type(error).__name__}: {_first_line(error)}); "
            f"run {_recipe(name)} on a machine with network and TensorFlow, and pass its --data_dir as the manual "
            "folder."
        ) from error


def _check_format(name: str, folder: Path) -> None:
    path = folder / "dataset_info.json"
    if not path.is_file():
        return
    try:
        file_format = json.loads(path.read_bytes()).get("fileFormat", "tfrecord")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} must be the description that TFDS wrote, got damage ({error}); delete {folder} and run "
            f"{_recipe(name)} again."
        ) from None
    if file_format != "array_record":
        raise ValueError(
            f"{name} must be in array_record files, which are read without TensorFlow, got {file_format} in {folder}; "
            f"run {_recipe(name)} with another --data_dir, and pass that folder."
        )


def _missing(name: str, root: Path, folder: Path) -> str:
    versions = sorted(str(path.parent) for path in (root / name).rglob("dataset_info.json"))
    inner = sorted(str(path.parent) for path in root.glob(f"*/{name}")) if root.is_dir() else []
    state = "is not there"
    if versions:
        state = f"is not there, but {versions[0]}, another version"
    elif inner:
        state = f"is not there, but {inner[0]}; pass that folder"
    elif folder.parent.is_dir() and list(folder.parent.glob("*incomplete*")):
        state = "is not complete: its download was ended"
    return (
        f"TFDS keeps {name} in {folder}, which {state}; run {_recipe(name)}, and pass its --data_dir as the manual "
        "folder."
    )


def _recipe(name: str) -> str:
    return f"`tfds build {name} --file_format=array_record --data_dir=DIR`"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
