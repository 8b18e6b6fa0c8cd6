"""State dicts in files, read without PyTorch: .pt and .pth, .safetensors, .npz.

A file of `torch.save` is a zip archive with a pickle and raw numbers. The pickle may call only what makes tensors,
dictionaries and numbers, so that no code of a foreign file runs.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from experiments import run

SUFFIXES = (".pt", ".pth", ".safetensors", ".npz")
STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
"""Class of PyTorch -> type of its numbers."""
INNER = ("model_state_dict", "state_dict", "model")
"""Keys under which training programs store the state dict beside other values."""
MAX_DIMENSIONS = 8


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint by their names.

    Args:
        path: the file; its suffix is its format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is another one, or the file is damaged, or its pickle would run other code.
    """
    check_file(path)
    if path.suffix == ".npz":
        return run.read_arrays(path, "save it again with numpy.savez")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    state = _state_of(_read_torch(path), path)
    return {name: np.asarray(array) for name, array in state.items()}


def check_file(path: Path) -> None:
    """Check that a file exists and has a known format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is another one.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"a checkpoint is a file {', '.join(SUFFIXES)}, got {path}; save model.state_dict() with torch.save as .pt."
        )
    if not path.is_file():
        raise FileNotFoundError(f"a checkpoint is needed, got {path}, which is no file; correct --evaluate.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} must be a safetensors file, got: {error}; save it again.") from None


def _state_of(value: Any, path: Path) -> Mapping[str, np.ndarray]:
    """Return the state dict itself, or the one that stands beside other values."""
    for key in INNER:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
            break
    if (
        isinstance(value, Mapping)
        and value
        and all(isinstance(array, np.ndarray) for array in value.values())
    ):
        return {str(name): array for name, array in value.items()}
    raise ValueError(
        f"{path} must hold a state dict, a map from names to tensors, got {type(value).__name__}; save "
        f"model.state_dict() and not the model."
    )


def _read_torch(path: Path) -> Any:
    """Return what `torch.save` has written, with NumPy arrays in place of tensors."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} must be a zip archive of torch.save, as PyTorch writes since 1.6, got another format; save the "
            f"state dict again."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"])
            return _TensorUnpickler(archive, name.removesuffix("data.pkl")).load()
    except StopIteration:
        fault = "no data.pkl in it"
    except (zipfile.BadZipFile, KeyError, EOFError, IndexError, TypeError, AttributeError) as error:
        fault = f"damage ({error})"
    except (pickle.UnpicklingError, ValueError) as error:
        fault = str(error)
    raise ValueError(
        f"{path} must be a state dict of torch.save, got {fault}; save model.state_dict() again."
    )


class _Storage(NamedTuple):
    """Numbers of one or more tensors."""

    values: np.ndarray


class _TensorUnpickler(pickle.Unpickler):
    """Reads tensors, dictionaries and numbers, and refuses every other class."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder = archive, folder
        self._order = ">" if self._byte_order() == b"big" else "<"

    def _byte_order(self) -> bytes:
        name = f"{self._folder}byteorder"
        return self._archive.read(name).strip() if name in self._archive.namelist() else b"little"

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for an allowed class or function. Raises UnpicklingError for any other."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        raise pickle.UnpicklingError(f"a pickle that calls {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the numbers that the archive stores under a key."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not str(key).isalnum():
            raise pickle.UnpicklingError(f"a reference {str(pid):.60} to something that is no storage")
        data = self._archive.read(f"{self._folder}data/{key}")
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"a storage of {len(data)} bytes for {count} numbers of {dtype}")
        ordered = dtype if self._order == "<" or dtype.itemsize == 1 else dtype.newbyteorder(">")
        return _Storage(np.frombuffer(data, ordered))


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    """Return a tensor: element i of axis k stands i · stride[k] numbers behind its first one."""
    values = storage.values
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if (
        min((*size, *stride, offset, 0)) < 0
        or len(size) > MAX_DIMENSIONS
        or (0 not in size and last >= len(values))
    ):
        raise ValueError(f"a tensor of the shape {size} beyond its {len(values)} numbers")
    strides = [s * values.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False).copy()


def _rebuild_parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor
