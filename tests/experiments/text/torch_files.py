"""Files as `torch.save` writes them, without PyTorch: a pickle with references to raw numbers, in a zip archive."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}
STORAGES |= {"bfloat16": "BFloat16Storage"}


@contextmanager
def torch_modules():
    """Modules with the names of PyTorch's, which a pickle refers to by name alone."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise NotImplementedError

    def _rebuild_parameter(*arguments):
        raise NotImplementedError

    for function in (_rebuild_tensor_v2, _rebuild_parameter):
        function.__module__, function.__qualname__ = "torch._utils", function.__name__
        setattr(utils, function.__name__, function)
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch, utils
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


class _Reference:
    """A storage, which the pickler replaces by its reference."""

    def __init__(self, kind, key, count):
        self.reference = ("storage", kind, key, "cpu", count)


class _Call:
    """An object that the pickle makes by a call."""

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.reference if isinstance(obj, _Reference) else None


def save(path, value, *, transposed=(), parameters=(), shared=(), order="little", name="archive"):
    """Write a nested dictionary of arrays as `torch.save` does.

    `transposed` arrays are stored in column order and have the strides of that, `parameters` are wrapped, and `shared`
    arrays stand behind ten other numbers of one storage.
    """
    storages = {}
    with torch_modules() as (torch, utils):

        def convert(key, item):
            if isinstance(item, dict):
                return OrderedDict((k, convert(k, v)) for k, v in item.items())
            if not isinstance(item, np.ndarray):
                return item
            numbers = item.T if key in transposed else item
            front = np.zeros(10, item.dtype) if key in shared else np.zeros(0, item.dtype)
            flat = np.concatenate([front, numbers.copy(order="C").ravel()])
            strides = tuple(s // item.itemsize for s in numbers.copy(order="C").strides)
            strides = strides[::-1] if key in transposed else strides
            number = str(len(storages))
            little = flat if order == "little" else flat.astype(flat.dtype.newbyteorder(">"))
            storages[number] = little.tobytes()
            kind = getattr(torch, STORAGES[str(item.dtype)])
            arguments = (
                _Reference(kind, number, len(flat)),
                len(front),
                item.shape,
                strides,
                False,
                OrderedDict(),
            )
            tensor = _Call(utils._rebuild_tensor_v2, arguments)
            if key in parameters:
                return _Call(utils._rebuild_parameter, (tensor, True, OrderedDict()))
            return tensor

        file = io.BytesIO()
        _Pickler(file, protocol=2).dump(convert("", value))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", file.getvalue())
        archive.writestr(f"{name}/byteorder", order)
        for number, data in storages.items():
            archive.writestr(f"{name}/data/{number}", data)
        archive.writestr(f"{name}/version", "3\n")
    return path
