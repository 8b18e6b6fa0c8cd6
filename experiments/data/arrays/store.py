"""A TFDS data set as fixed-shape arrays on disk: written once, then checked and memory-mapped by every run."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock
from jaxtyping import Int32, Integer
from numpy.lib.format import write_array_header_1_0

from experiments.data.preparation.counter import counted
from experiments.data.preparation.file_hashes import FileHashes, joint_hash, sha256
from experiments.data.preparation.tfds_files import prepare_files
from experiments.run.folder.atomic_files import force_to_disk

FORMAT = 1
ROWS_AT_ONCE = 1024
NO_LABEL = -1
"""Label of a token that has none."""
TOKEN_TYPES = ("uint8", "uint16", "int32")
"""Types of stored tokens; all data sets but texts by words or pieces of words have uint8."""
FACTS = {"bytes", "shape", "dtype", "sha256"}
"""What a manifest says about each file."""


class Split(NamedTuple):
    """One split of n examples of T = max_len tokens, or of n pairs of sequences.

    Bytes and pixels have all 256 values, so their ids, value + 1, do not fit uint8. They are stored unchanged, and
    `model_inputs` adds `first_id` on the device. Ids of a vocabulary of more than 256 symbols are uint16.
    """

    tokens: Integer[np.ndarray, "n *pair T"]
    """Values of the builder from position 0 on, and 0 after their length; (n, 2, T) for pairs. Read when indexed."""
    lengths: Int32[np.ndarray, "n *pair"]
    """Number of tokens of every sequence."""
    labels: Int32[np.ndarray, "n *T"]
    """Label of every example, or of every token, 0 to `classes` - 1; -1 is a token without a label. A data set without
    classes has other numbers of every example, (n, k)."""
    vocabulary: tuple[str, ...]
    """Symbols in the order of their ids, padding first; a model needs an embedding for each."""
    classes: int
    """Number of labels."""
    sha256: str = ""
    """Joint SHA-256 of the three files of the split."""
    first_id: int = 0
    """Id of the value 0: 0 if the values are ids, 1 for bytes and pixels."""


def prepare(
    builder: tfds.core.DatasetBuilder,
    *,
    max_len: int,
    data_dir: str | Path = "data",
    manual_dir: str | Path | None = None,
    verify: bool = False,
) -> dict[str, Split]:
    """Write the splits of `builder` once to a folder in `data_dir/arrays`, and open them from there.

    The folder is created atomically, so a killed process leaves no incomplete folder. If several processes start,
    one writes and the others wait. Every call compares configuration, file sizes, shapes and SHA-256 with the
    manifest. A machine reads a file for its SHA-256 once, and again if size or time of change differ.

    Args:
        builder: a TFDS builder of examples {"tokens": uint8 (t,), "label": ClassLabel} with t <= max_len. Pairs of
            sequences have another entry "second": uint8 (s,). Labels of tokens are "labels": int32 (t,), in place of
            "label", and their number is `info.metadata["classes"]`; labels of a fixed shape (k,) are k numbers of every
            example. `info.metadata["vocabulary"]` lists the symbols, `info.metadata["first_id"]` is 1 for bytes and
            pixels. Tokens may also be uint16 or int32, if the feature says so.
        max_len: tokens of a row.
        data_dir: parent of the folder `arrays`.
        manual_dir: folder of files that TFDS cannot download.
        verify: read every byte for the SHA-256, whatever the time of change.

    Returns:
        A map from the name of a split to its `Split`.

    Raises:
        ValueError: the folder is damaged or was made from another configuration, or an example is longer than
            max_len or of another type. Nothing is overwritten.
    """
    identity, folder = _identity(builder, max_len), _folder(builder, max_len, data_dir)
    hashes = FileHashes(Path(data_dir))
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name.removesuffix(f'-{max_len}')}.lock")
        with FileLock(lock):  # the lock also covers the files of the builder
            if not folder.exists():
                prepare_files(builder, manual_dir)
                write(builder, folder, identity)
    return _read(folder, identity, hashes, verify=verify)


def is_prepared(builder: tfds.core.DatasetBuilder, *, max_len: int, data_dir: str | Path = "data") -> bool:
    """Return whether `prepare` has written the arrays already.

    Args:
        builder: the builder. A star in the name of its configuration stands for any text, see `known_content`.
        max_len: tokens of a row.
        data_dir: parent of the folder `arrays`.
    """
    folder = _folder(builder, max_len, data_dir)
    return any(folder.parent.glob(folder.name))


def _folder(builder: tfds.core.DatasetBuilder, max_len: int, data_dir: str | Path) -> Path:
    config = builder.builder_config.name if builder.builder_config else "default"
    return Path(data_dir) / "arrays" / f"{builder.name}-{config}-{builder.version}-{max_len}"


def _identity(builder: tfds.core.DatasetBuilder, max_len: int) -> dict[str, Any]:
    """Return all settings that the arrays depend on, in the types that JSON returns."""
    info: Any = builder.info
    config = dataclasses.asdict(builder.builder_config) if builder.builder_config else {}
    features, metadata = info.features, info.metadata
    identity = {
        "format": FORMAT,
        "source": builder.name,
        "generator_version": str(builder.version),
        "config": {key: value for key, value in config.items() if value not in (None, [], "")},
        "max_len": max_len,
        "vocabulary": list(metadata["vocabulary"]),
        "classes": features["label"].num_classes if "label" in features else metadata["classes"],
    }
    identity |= {"first_id": metadata["first_id"]} if metadata.get("first_id") else {}
    return json.loads(json.dumps(identity))


def write(builder: tfds.core.DatasetBuilder, folder: Path, identity: dict[str, Any]) -> None:
    """Write the arrays to a temporary folder, sync them to disk, and rename it to `folder`."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(
        partial, ignore_errors=True
    )  # a killed process left it, because this process holds the lock
    partial.mkdir()
    splits = list(builder.info.splits)
    open_source: Any = builder.as_data_source  # a decorator hides its arguments from type checkers
    for split in splits:
        _write_split(open_source(split), builder.info.features, partial, split, identity["max_len"])
    files = {path.name: _describe(path) for path in sorted(partial.glob("*.npy"))}
    manifest = json.dumps({**identity, "splits": splits, "files": files}, indent=1)
    (partial / "manifest.json").write_text(f"{manifest}\n", encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        force_to_disk(path)
    partial.rename(folder)
    force_to_disk(folder.parent)


def _write_split(source: Any, features: Any, folder: Path, split: str, max_len: int) -> None:
    n = len(source)
    names = ("tokens", "second") if "second" in features else ("tokens",)
    pair = (2,) if len(names) == 2 else ()
    of_tokens = "labels" in features
    width = (features["labels"].shape[0] or max_len) if of_tokens else None
    labels = np.full(n if width is None else (n, width), NO_LABEL, np.int32)
    dtype = np.dtype(features["tokens"].np_dtype)
    lengths = np.zeros((n, len(names)), np.int32)
    starts = range(0, n, ROWS_AT_ONCE)
    with (folder / f"{split}.x.npy").open("wb") as file:  # a memory map would count all its pages as memory
        shape = (n, *pair, max_len)
        write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
        for start in counted(starts, f"writing blocks of {split} arrays", len(starts)):
            rows = range(start, min(start + ROWS_AT_ONCE, n))
            tokens = np.zeros((len(rows), len(names), max_len), dtype)
            for row, example in zip(rows, source.__getitems__(list(rows)), strict=True):
                for column, name in enumerate(names):
                    values, length = example[name], len(example[name])
                    _check_values(values, dtype, max_len, split)
                    tokens[row - start, column, :length], lengths[row, column] = values, length
                if of_tokens:
                    labels[row, : len(example["labels"])] = example["labels"]
                else:
                    labels[row] = example["label"]
            tokens.tofile(file)
    np.save(folder / f"{split}.length.npy", lengths if pair else lengths[:, 0])
    np.save(folder / f"{split}.y.npy", labels)


def _check_values(values: np.ndarray, dtype: np.dtype, max_len: int, split: str) -> None:
    if values.dtype != dtype or dtype.name not in TOKEN_TYPES or len(values) > max_len:
        raise ValueError(
            f"examples must be {', '.join(TOKEN_TYPES)} and have at most max_len={max_len} tokens, got {values.dtype} "
            f"of length "
            f"{len(values)} in {split}; raise max_len or have the builder cut its examples."
        )


def _describe(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r")
    shape, dtype = list(array.shape), str(array.dtype)
    return {"shape": shape, "dtype": dtype, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _read(folder: Path, identity: dict[str, Any], hashes: FileHashes, *, verify: bool) -> dict[str, Split]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder / "manifest.json", f"cannot be read ({error})") from None
    if not isinstance(manifest, dict):
        raise _damaged(folder / "manifest.json", "is no object")
    differing = {key: manifest.get(key) for key in identity if manifest.get(key) != identity[key]}
    if differing:
        expected = {key: identity[key] for key in differing}
        raise ValueError(
            f"prepared arrays must be those asked for, with {expected}: {folder} was made with {differing}; "
            "choose another data_dir, or delete the folder to prepare it again."
        )
    files: Any = manifest.get("files")
    if not _is_complete(files, manifest.get("splits")):
        raise _damaged(folder / "manifest.json", "does not describe all its files")
    arrays = {name: _load(folder / name, facts, hashes, verify=verify) for name, facts in files.items()}
    return {
        split: Split(
            arrays[f"{split}.x.npy"],
            np.array(arrays[f"{split}.length.npy"]),
            np.array(arrays[f"{split}.y.npy"]),
            tuple(identity["vocabulary"]),
            identity["classes"],
            joint_hash([files[f"{split}.{part}.npy"]["sha256"] for part in ("x", "length", "y")]),
            identity.get("first_id", 0),
        )
        for split in manifest["splits"]
    }


def _is_complete(files: Any, splits: Any) -> bool:
    """Return whether a manifest describes every file of its splits."""
    if not isinstance(splits, list) or not isinstance(files, dict):
        return False
    described = [files.get(f"{split}.{part}.npy") for split in splits for part in ("x", "length", "y")]
    return all(isinstance(facts, dict) and set(facts) >= FACTS for facts in described)


def _load(path: Path, facts: dict[str, Any], hashes: FileHashes, *, verify: bool) -> np.ndarray:
    size = path.stat().st_size if path.is_file() else 0
    if size != facts["bytes"]:
        raise _damaged(path, f"has {size} bytes, not {facts['bytes']}")
    try:
        array = np.load(path, mmap_mode="r")
    except (EOFError, ValueError) as error:
        raise _damaged(path, f"is not an array ({error})") from None
    if list(array.shape) != facts["shape"] or str(array.dtype) != facts["dtype"]:
        raise _damaged(path, f"holds {array.dtype} {array.shape}, not {facts['dtype']} {facts['shape']}")
    if (digest := hashes.sha256(path, again=verify)) != facts["sha256"]:
        raise _damaged(path, f"has SHA-256 {digest}, not {facts['sha256']}")
    return array


def _damaged(path: Path, fault: str) -> ValueError:
    return ValueError(
        f"prepared arrays must be as their manifest says: {path} {fault}; delete its folder to prepare "
        "them again."
    )
