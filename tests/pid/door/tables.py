"""Small stand-ins for tables of pandas and polars and for tensors of torch, with the methods that are read."""

from types import SimpleNamespace
from typing import Any

import numpy as np


class MissingType:
    """Stands for `pandas.NA`."""


MissingType.__name__ = "NAType"
NA = MissingType()


class Column:
    """A column as pandas has it: dtype, index, `to_numpy`, and codes of categories."""

    ndim = 1

    def __init__(self, values: Any, *, dtype: str | None = None, index: Any = None, name: Any = "a"):
        self.values = np.asarray(values)
        self.dtype = dtype or self.values.dtype
        self.index = range(len(self.values)) if index is None else index
        self.name = name
        self.iloc = self
        self.shape = self.values.shape

    def to_numpy(self) -> np.ndarray:
        return self.values


def category(labels: list[str], categories: list[str], *, ordered: bool = False, index: Any = None) -> Column:
    """A column of dtype category; a label that is no category is missing."""
    column = Column(np.array(labels, object), dtype="category", index=index)
    codes = [categories.index(label) if label in categories else -1 for label in labels]
    column.cat = SimpleNamespace(codes=np.array(codes, np.int8), categories=categories, ordered=ordered)  # pyright: ignore
    return column


class Frame:
    """A table as pandas has it."""

    def __init__(self, columns: dict[Any, Any], *, index: Any = None, names: list[Any] | None = None):
        parts = [c if isinstance(c, Column) else Column(c) for c in columns.values()]
        self.columns = list(columns) if names is None else names
        self.index = parts[0].index if index is None else index
        self.shape = (len(parts[0].values), len(parts))
        self.iloc = _Positions(parts)


class _Positions:
    def __init__(self, parts: list[Column]):
        self.parts = parts

    def __getitem__(self, key: tuple[slice, int]) -> Column:
        return self.parts[key[1]]


class Tensor:
    """A tensor as torch has it."""

    def __init__(self, values: np.ndarray):
        self.values, self.shape, self.dtype = values, values.shape, f"torch.{values.dtype}"

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def float(self) -> "Tensor":
        return Tensor(self.values.astype(np.float32))

    def numpy(self) -> np.ndarray:
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values
