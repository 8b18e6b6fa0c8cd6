"""A Hugging Face folder of weights: safetensors in one file or several, with tensors read by slices."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pid.llava.checkpoint.key_mapping import canonical_key, is_buffer, is_original
from pid.llava.checkpoint.safetensors_header import damage_error
from pid.llava.checkpoint.weight_files import weight_files
from pid.llava.model_folder.config_json import ORIGINAL_REMEDY

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
        ValueError: two keys have one canonical form, or a key is of the layout of the original authors.
    """
    by_key: dict[str, LazyTensor] = {}
    for key, tensor in tensors:
        if is_original(key):
            raise ValueError(
                f"tensors have the names of Hugging Face, got {key} in {where}; {ORIGINAL_REMEDY}."
            )
        if canonical_key(key) in by_key:
            raise ValueError(
                f"a parameter has one tensor, got a second, {key}, in {where}; remove one of them."
            )
        by_key[canonical_key(key)] = tensor
    return by_key


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
                    raise damage_error(file, error) from error
                for key in handle.keys():  # noqa: SIM118  a handle is not a mapping
                    if not is_buffer(key):
                        yield key, _lazy_tensor(handle, key, file)

        yield by_canonical_key(tensors(), str(folder))
