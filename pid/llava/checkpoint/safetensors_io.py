"""A Hugging Face folder of weights: safetensors in one file or several, with tensors read by slices."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from pid.llava.checkpoint.key_mapping import canonical_key, is_buffer

Index = tuple[slice, ...]
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class LazyTensor:
    """A tensor on disk that is read by slices."""

    shape: tuple[int, ...]
    """Its shape, in torch's order."""
    read: Callable[[Index], np.ndarray]
    """Reads a slice of it."""


def by_canonical_key(tensors: Iterable[tuple[str, LazyTensor]], where: str) -> dict[str, LazyTensor]:
    """The tensors by canonical key.

    Raises:
        ValueError: two keys have one canonical form.
    """
    by_key: dict[str, LazyTensor] = {}
    for key, tensor in tensors:
        if canonical_key(key) in by_key:
            raise ValueError(
                f"a parameter has one tensor, got a second, {key}, in {where}; remove one of them."
            )
        by_key[canonical_key(key)] = tensor
    return by_key


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder.

    Raises:
        FileNotFoundError: names the files that are missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"a model folder has its weights as safetensors, found no {', '.join(missing)} in {folder}; download "
            f"them all."
        )
    return [folder / name for name in names]


def _damage_error(file: Path, error: Exception) -> ValueError:
    return ValueError(
        f"a file of weights must be whole, got {file.name} of {file.stat().st_size} bytes: {error}; download "
        f"it again."
    )


class Header(NamedTuple):
    """The header of a safetensors file, which precedes its tensors."""

    text: bytes
    """The header itself, JSON."""
    byte_ranges: dict[str, tuple[int, int]]
    """For each key the bytes of the file that hold its tensor: the first one and one past the last."""


def read_header(file: Path) -> Header:
    """Read the header of a safetensors file: 8 bytes with its length, little-endian, then JSON with offsets.

    Raises:
        ValueError: the file is damaged.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, file.stat().st_size))
    try:
        fields = {key: field for key, field in json.loads(text).items() if key != "__metadata__"}
    except ValueError as error:
        raise _damage_error(file, error) from error
    start = 8 + len(text)
    offsets = {key: field["data_offsets"] for key, field in fields.items()}
    return Header(text, {key: (start + first, start + last) for key, (first, last) in offsets.items()})


def _lazy_tensor(handle: Any, key: str, file: Path) -> LazyTensor:
    tensor = handle.get_slice(key)
    if tensor.get_dtype() not in FLOATS:
        raise ValueError(
            f"weights are floating, got {tensor.get_dtype()} for {key} in {file.name}; use a checkpoint that is "
            f"not quantized."
        )
    return LazyTensor(tuple(tensor.get_shape()), lambda index: tensor[index])


@contextmanager
def open_folder(folder: Path) -> Iterator[dict[str, LazyTensor]]:
    """The tensors of a Hugging Face folder by canonical key, readable while the context is open.

    Raises:
        FileNotFoundError: a weight file is missing.
        ValueError: a file is damaged, or weights are not floating-point numbers.
    """
    with ExitStack() as files:

        def tensors() -> Iterator[tuple[str, LazyTensor]]:
            for file in weight_files(folder):
                try:
                    handle = files.enter_context(safe_open(file, framework="np"))
                except SafetensorError as error:
                    raise _damage_error(file, error) from error
                for key in handle.keys():  # noqa: SIM118  a handle is not a mapping
                    if not is_buffer(key):
                        yield key, _lazy_tensor(handle, key, file)

        yield by_canonical_key(tensors(), str(folder))
