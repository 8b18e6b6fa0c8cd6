"""A Hugging Face folder of weights: config.json, and safetensors in one file or several, tensors read by slices."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from pid.llava.checkpoint.key_mapping import canon, is_buffer

Index = tuple[slice, ...]
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Tensor:
    """A tensor that is not read yet."""

    shape: tuple[int, ...]
    """Its shape, in torch's order."""
    read: Callable[[Index], np.ndarray]
    """Reads a slice of it."""


def by_canonical_key(tensors: Iterable[tuple[str, Tensor]], where: str) -> dict[str, Tensor]:
    """The tensors by canonical key. Raises ValueError if two keys mean the same."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors:
        if canon(key) in found:
            raise ValueError(
                f"a parameter has one tensor, got a second, {key}, in {where}; remove one of them."
            )
        found[canon(key)] = tensor
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files of weights of a folder. Raises FileNotFoundError, naming them, if some are missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"a model folder has its weights as safetensors, found no {', '.join(lost)} in {folder}; download "
            f"them all."
        )
    return [folder / name for name in names]


def _damaged(file: Path, problem: Exception) -> ValueError:
    return ValueError(
        f"a file of weights must be whole, got {file.name} of {file.stat().st_size} bytes: {problem}; download "
        f"it again."
    )


class Header(NamedTuple):
    """What stands before the tensors of a safetensors file."""

    text: bytes
    """The header as it is, JSON."""
    spans: dict[str, tuple[int, int]]
    """For each key the bytes of the file in which its tensor lies, first and behind the last."""


def read_header(file: Path) -> Header:
    """The header of a safetensors file: 8 bytes of its length, little-endian, then JSON with offsets behind it.

    Raises:
        ValueError: the file is damaged.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        text = opened.read(min(length, file.stat().st_size))
    try:
        fields = {key: field for key, field in json.loads(text).items() if key != "__metadata__"}
    except ValueError as problem:
        raise _damaged(file, problem) from problem
    start = 8 + len(text)
    spans = {key: field["data_offsets"] for key, field in fields.items()}
    return Header(text, {key: (start + first, start + last) for key, (first, last) in spans.items()})


def _tensor(handle: Any, key: str, file: Path) -> Tensor:
    part = handle.get_slice(key)
    if part.get_dtype() not in FLOATS:
        raise ValueError(
            f"weights are floating, got {part.get_dtype()} for {key} in {file.name}; use a checkpoint that is "
            f"not quantised."
        )
    return Tensor(tuple(part.get_shape()), lambda index: part[index])


@contextmanager
def open_folder(folder: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a Hugging Face folder by canonical key, readable as long as the context is open.

    Raises:
        FileNotFoundError: a file of weights is missing.
        ValueError: a file is damaged, or weights are not floating.
    """
    with ExitStack() as opened:

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for file in weight_files(folder):
                try:
                    handle = opened.enter_context(safe_open(file, framework="np"))
                except SafetensorError as problem:
                    raise _damaged(file, problem) from problem
                for key in handle.keys():  # noqa: SIM118  a handle is no mapping
                    if not is_buffer(key):
                        yield key, _tensor(handle, key, file)

        yield by_canonical_key(tensors(), str(folder))
