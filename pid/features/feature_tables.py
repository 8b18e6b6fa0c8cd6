"""One variable from any kind of array or table: real numbers, kinds of columns, names of columns and rows.

Arrays are NumPy, JAX, masked, sparse or torch arrays and lists. Tables are those of pandas, polars, pyarrow and xarray,
which are recognized by their methods, so that none of them needs to be installed.

    n samples, d features
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

ColumnKind = Literal["real", "integer", "boolean", "ordinal", "category"]
"""What the dtype of a column says: ordered categories are ordinal, other categories and texts are categories."""

CATEGORIES = ("category", "categorical", "enum", "dictionary")
TIMES = ("datetime", "timedelta", "date", "time", "timestamp", "duration", "period")


class FeatureTable(NamedTuple):
    """Real numbers with what their container said about them.

    Example:
        >>> import numpy as np
        >>> from pid.features.feature_tables import read_table
        >>> table = read_table("x", np.zeros((9, 2), bool))
        >>> table.values.shape, table.kinds, table.names
        ((9, 2), ('boolean', 'boolean'), None)
    """

    values: np.ndarray
    """Boolean, integer or floating numbers, (n, d) or (L, n, d); NaN where an entry is missing."""

    kinds: tuple[ColumnKind, ...]
    """Kind of every column, by its dtype."""

    names: tuple[str, ...] | None = None
    """Names of the columns of a table."""

    rows: tuple[Any, ...] | None = None
    """Labels of the rows of a table that has them."""

    missing: int = 0
    """Number of entries that are masked or null."""

    labels: tuple[tuple[str, ...], ...] = ()
    """Labels of the codes of every column, empty for numbers; () if no column has labels."""


class _Column(NamedTuple):
    values: np.ndarray
    kind: ColumnKind
    missing: int = 0
    labels: tuple[str, ...] = ()


def read_table(name: str, data: Any) -> FeatureTable:
    """Read one variable, or one layer of it, from an array or a table.

    Texts and categories become codes 0, 1, ... in the order of their labels.

    Args:
        name: name of the variable, for messages.
        data: NumPy, JAX, masked, sparse or torch array, nested lists, or a table of pandas, polars, pyarrow or xarray.
            A column of a table has shape (n, 1).

    Returns:
        FeatureTable; its values have the shape of the array.

    Raises:
        ValueError: what cannot be read as real numbers: rule, value, remedy.
    """
    columns = _columns_of(data)
    if columns is not None:
        return _read_columns(name, data, columns)
    if _has(data, "dims", "coords", "values"):  # xarray
        rows, names = (_coordinate(data, axis) for axis in (-2, -1))
        return _read_array(name, np.asarray(data.values))._replace(names=_texts(names), rows=rows)
    return _read_array(name, _to_numpy(name, data))


def _has(data: Any, *attributes: str) -> bool:
    return all(hasattr(data, attribute) for attribute in attributes)


def _columns_of(data: Any) -> list[Any] | None:
    """Return the columns of a table or of a single column; None for an array."""
    if isinstance(data, np.ndarray | jax.Array):
        return None
    if _has(data, "iloc", "index"):  # pandas
        return [data] if _has(data, "dtype") else [data.iloc[:, i] for i in range(data.shape[1])]
    if _has(data, "get_columns"):  # polars
        return data.get_columns()
    if _has(data, "column_names", "columns"):  # pyarrow
        return list(data.columns)
    return [data] if _has(data, "null_count", "to_numpy") else None  # one column of polars or pyarrow


def _read_columns(name: str, data: Any, columns: list[Any]) -> FeatureTable:
    names = _texts(getattr(data, "column_names", getattr(data, "columns", ())))
    is_table = len(np.shape(data)) == 2
    if not names and getattr(data, "name", None) is not None:
        names = _texts([data.name])
    rows = tuple(data.index) if hasattr(data, "iloc") else None
    labels = [f"column {label!r} of {name}" for label in names or ()] if is_table else []
    read = [
        _read_column(label, column)
        for label, column in zip(labels or [name] * len(columns), columns, strict=True)
    ]
    values = np.stack([column.values for column in read], axis=1) if read else np.zeros(np.shape(data)[:2])
    return FeatureTable(
        values,
        tuple(column.kind for column in read),
        names,
        rows,
        missing=sum(column.missing for column in read),
        labels=_labels_of([column.labels for column in read]),
    )


def _labels_of(labels: list[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(labels) if any(labels) else ()


def _texts(labels: Iterable[Any] | None) -> tuple[str, ...] | None:
    """Return labels as texts; those of several levels are joined."""
    if labels is None:
        return None
    return tuple("/".join(map(str, x)) if isinstance(x, tuple) else str(x) for x in labels) or None


def _coordinate(data: Any, axis: int) -> tuple[Any, ...] | None:
    """Return the labels along an axis of an xarray, if it has some."""
    if len(data.dims) < -axis or data.dims[axis] not in data.coords:
        return None
    return tuple(np.asarray(data.coords[data.dims[axis]].values).tolist())


def _read_column(name: str, column: Any) -> _Column:
    dtype = str(getattr(column, "dtype", getattr(column, "type", ""))).lower()
    if dtype.startswith(CATEGORIES):
        return _read_categories(column)
    if dtype.startswith(TIMES):
        raise _time_error(name, dtype)
    table = _read_array(name, np.asarray(column.to_numpy()))
    if table.values.ndim != 1:
        raise ValueError(
            f"a column must hold one number for each sample, got {name} of dtype {dtype}; unnest it."
        )
    return _Column(table.values, table.kinds[0], max(table.missing, _count_missing(column)), *table.labels)


def _count_missing(column: Any) -> Any:
    if hasattr(column, "isna"):  # pandas
        return int(np.sum(np.asarray(column.isna())))
    count: Any = getattr(column, "null_count", 0)  # a method in polars, a number in pyarrow
    return count() if callable(count) else count


def _read_categories(column: Any) -> _Column:
    categories: Any = getattr(column, "cat", None)
    if hasattr(categories, "codes"):  # pandas
        codes = np.asarray(categories.codes, float)
        kind = "ordinal" if categories.ordered else "category"
        labels = tuple(map(str, categories.categories))
        return _Column(np.where(codes < 0, np.nan, codes), kind, int((codes < 0).sum()), labels)
    values = column.to_list() if hasattr(column, "to_list") else column.to_pylist()
    return _read_objects("", np.array([*values, None], object)[:-1], "category")


def _to_numpy(name: str, data: Any) -> np.ndarray:
    if isinstance(data, Tracer):
        raise ValueError(
            f"samples must be concrete, got traced ones for {name}; call the function outside jax.jit and jax.vmap."
        )
    if _has(data, "detach", "cpu"):  # torch
        data = data.detach().cpu()
        data = data.to_dense() if getattr(data, "is_sparse", False) else data
        return np.asarray((data.float() if "bfloat16" in str(data.dtype) else data).numpy())
    if _has(data, "toarray", "nnz"):  # sparse
        data = data.toarray()
    if _has(data, "collect", "lazy"):
        raise ValueError(
            f"samples must be arrays or tables, got a lazy table for {name}; pass {name}.collect()."
        )
    if isinstance(data, np.ma.MaskedArray):
        return data
    data = np.ma.stack(data) if isinstance(data, list | tuple) and _any_masked(data) else data
    try:
        array = np.asanyarray(data)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"samples must be arrays of real numbers, got {name} of type {type(data).__name__}: {error}; "
            f"rows need equal lengths, and layers of different widths a list of arrays."
        ) from error
    if array.dtype.kind in "OSU" and array.ndim == 0:
        raise ValueError(
            f"samples must be arrays or tables, got {name} of type {type(data).__name__}; pass a NumPy array."
        )
    return array


def _any_masked(parts: Sequence[Any]) -> bool:
    return any(isinstance(part, np.ma.MaskedArray) for part in parts)


def _read_array(name: str, array: np.ndarray) -> FeatureTable:
    """Read an array of any dtype."""
    missing = 0
    if isinstance(array, np.ma.MaskedArray):
        mask, array = np.ma.getmaskarray(array), array.data
        if missing := int(mask.sum()):
            array = np.where(mask, np.nan, np.asarray(_read_array(name, array).values, float))
    array = np.asarray(array)
    if array.dtype.names is not None:
        raise ValueError(
            f"samples must be real numbers, got {name} with the fields {', '.join(array.dtype.names)}; convert it by "
            f"numpy.lib.recfunctions.structured_to_unstructured."
        )
    if array.dtype.kind == "c":
        raise ValueError(
            f"samples must be real numbers, got {name} of dtype {array.dtype}; pass its real and imaginary parts as "
            f"columns."
        )
    if array.dtype.kind in "mM":
        raise _time_error(name, str(array.dtype))
    if array.dtype.kind in "USTO":
        column = _read_objects(name, array.astype(object).ravel(), None)
        kinds = _repeat(column.kind, array)
        return FeatureTable(
            column.values.reshape(array.shape),
            kinds,
            missing=missing + column.missing,
            labels=_labels_of([column.labels] * len(kinds)),
        )
    if array.dtype.kind not in "biuf":
        if not jnp.issubdtype(array.dtype, np.number):
            raise ValueError(
                f"samples must be real numbers, got {name} of dtype {array.dtype}; convert it to float."
            )
        array = array.astype(np.float32)  # bfloat16 and others that NumPy does not know
    kind: ColumnKind = {"b": "boolean", "i": "integer", "u": "integer"}.get(array.dtype.kind, "real")  # pyright: ignore
    return FeatureTable(array, _repeat(kind, array), missing=missing)


def _repeat(kind: ColumnKind, array: np.ndarray) -> tuple[ColumnKind, ...]:
    return (kind,) * (array.shape[-1] if array.ndim > 1 else 1)


def _time_error(name: str, dtype: str) -> ValueError:
    return ValueError(
        f"samples must be real numbers, got {name} of dtype {dtype}; pass times as numbers, such as seconds."
    )


def _is_missing(value: Any) -> bool:
    """Return whether an object is None or the missing value of a table."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _is_number(value: Any) -> bool:
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return np.ndim(value) == 0 and value.dtype.kind in "biuf"
    return isinstance(value, Real) or type(value).__name__ == "Decimal"


def _read_objects(name: str, flat: np.ndarray, kind: ColumnKind | None) -> _Column:
    """Read Python objects: numbers, texts, categories and missing values."""
    missing = np.array([_is_missing(value) for value in flat], bool)
    present = flat[~missing]
    values = np.full(flat.shape, np.nan)
    if kind is None and all(map(_is_number, present)):
        values[~missing] = list(map(_to_float, present))
        types = {type(value) for value in present}
        kind = "real"
        if types and types <= {bool, np.bool_}:
            kind = "boolean"
        elif types and all(issubclass(t, int | np.integer) for t in types):
            kind = "integer"
        return _Column(values, kind, int(missing.sum()))
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in present]
    if kind is None and not all(isinstance(text, str) for text in texts):
        counts = Counter(type(value).__name__ for value in present if not _is_number(value))
        others = ", ".join(f"{count} of type {kind}" for kind, count in counts.items())
        remedy = "give all rows one length and join them by np.stack, and convert the rest by astype(float)"
        raise ValueError(f"samples must be real numbers, got {name} with {others}; {remedy}.")
    if kind is None and all(map(_reads_as_number, texts)):
        raise ValueError(
            f"samples must be real numbers, got {name} with texts of numbers such as {texts[0]!r}; convert it by "
            f"astype(float)."
        )
    labels, codes = np.unique(np.array([*map(str, texts)], object), return_inverse=True)
    values[~missing] = codes
    return _Column(values, "category", int(missing.sum()), tuple(labels))


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
