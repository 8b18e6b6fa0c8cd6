"""The three variables of an estimate as users pass them: samples of target, x and y, with or without layers.

L layers, n samples, d features
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from pid.features.feature_tables import FeatureTable, read_table

MIN_SAMPLES = 8
SHOWN = 3
"""Number of labels, layers or names in a message."""


class Variable(NamedTuple):
    """Samples of one variable, layer by layer.

    Example:
        >>> import numpy as np
        >>> from pid.features.input_arrays import read_samples
        >>> x = [np.zeros((9, 2)), np.zeros((9, 5))]
        >>> samples = read_samples(np.zeros((9, 1)), x, x, layers=True)
        >>> samples.x.shape, samples.target.layer(1).shape
        ('2 layers of (9, 2), (9, 5)', (9, 1))
    """

    name: str
    """target, x or y."""

    layers: tuple[FeatureTable, ...]
    """Table (n, d) of every layer; a single one if the variable is the same in all layers."""

    has_layers: bool
    """Whether the variable has an axis of layers."""

    layer_names: tuple[str, ...] | None = None
    """Names of the layers, if they were passed as a dictionary."""

    def layer(self, index: int) -> np.ndarray:
        """Return the numbers of a layer, (n, d) in float64."""
        return np.asarray(self.layers[index if self.has_layers else 0].values, np.float64)

    @property
    def shape(self) -> str:
        """Shape as text, for messages."""
        shapes = [table.values.shape for table in self.layers]
        if not self.has_layers:
            return str(shapes[0])
        if len(set(shapes)) == 1:
            return str((len(shapes), *shapes[0]))
        return f"{len(shapes)} layers of {_first(map(str, shapes))}"


class Samples(NamedTuple):
    """The same n samples of target, x and y."""

    target: Variable
    """The target."""

    x: Variable
    """The first source."""

    y: Variable
    """The second source."""

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.target.layers[0].values)

    @property
    def num_layers(self) -> int:
        """Number of layers; 1 without layers."""
        return max(len(variable.layers) for variable in self)

    @property
    def layer_names(self) -> tuple[str, ...] | None:
        """Names of the layers, if a variable has them."""
        return next((variable.layer_names for variable in self if variable.layer_names is not None), None)


def read_samples(target: Any, x: Any, y: Any, *, layers: bool, labels: Collection[str] = ()) -> Samples:
    """Read and check the samples of the three variables.

    Args:
        target: array or table (n, d) of real numbers; see `feature_tables.read_table`. A single column of a table has
            shape (n, 1).
        x: likewise, with the same rows.
        y: likewise, with the same rows.
        layers: whether a variable may also be an array (L, n, d), or a list or dictionary of L arrays (n, d), whose
            widths may differ. At least one of the three then is.
        labels: names of the variables that may hold texts or categories, which become codes.

    Returns:
        Samples.

    Raises:
        ValueError: shapes or rows that do not fit, too few samples, values that are missing, not finite or no real
            numbers.

    Example:
        >>> import numpy as np
        >>> from pid.features.input_arrays import read_samples
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 9, 2))
        >>> samples = read_samples(target > 0, x.tolist(), np.asfortranarray(y), layers=False)
        >>> samples.n, samples.target.layers[0].kinds
        (9, ('boolean', 'boolean'))
    """
    samples = Samples(
        *(_read(n, a, layers=layers) for n, a in zip(Samples._fields, (target, x, y), strict=True))
    )
    samples = _align_layers(samples)
    _check_shapes(samples, layers=layers)
    for variable in samples:
        for index, table in enumerate(variable.layers):
            name = _layer_name(variable, index)
            _check_labels(name, table, allowed=variable.name in labels)
            _check_complete(name, table)
    _check_rows(samples)
    return samples


def _read(name: str, data: Any, *, layers: bool) -> Variable:
    parts, names = _parts_of(name, data, layers=layers)
    if parts is not None:
        tables = [
            read_table(f"layer {label} of {name}", part)
            for label, part in zip(names or range(len(parts)), parts, strict=True)
        ]
        for label, table in zip(names or range(len(parts)), tables, strict=True):
            if table.values.ndim != 2:
                raise ValueError(
                    f"a layer must have shape (n, d), got {table.values.shape} for layer {label} of {name}; pass one "
                    f"vector for each sample, such as that of one token."
                )
        return Variable(name, tuple(tables), has_layers=True, layer_names=names)
    table = read_table(name, data)
    if table.values.ndim != 3:
        return Variable(name, (table,), has_layers=False)
    return Variable(name, tuple(table._replace(values=values) for values in table.values), has_layers=True)


def _parts_of(name: str, data: Any, *, layers: bool) -> tuple[list[Any] | None, tuple[str, ...] | None]:
    """Return the layers of a list or a dictionary of arrays and their names; None for one array."""
    if hasattr(data, "data_vars"):
        raise ValueError(
            f"samples must be an array or a table, got {name} of type {type(data).__name__}; pass {name}.to_array()."
        )
    if isinstance(data, Mapping):
        parts, names = list(data.values()), tuple(map(str, data))
    elif isinstance(data, list | tuple) or (
        isinstance(data, np.ndarray) and data.dtype == object and data.ndim == 1
    ):
        parts, names = list(data), None
        if not parts or any(len(_shape_of(part)) < 2 for part in parts):
            return None, None
    else:
        return None, None
    if not layers:
        kind = "dictionary" if names else "list"
        raise ValueError(
            f"samples must have shape (n, d), got a {kind} of {len(parts)} arrays for {name}; use layerwise for "
            f"layers, or join columns by np.concatenate(..., axis=1)."
        )
    if not parts:
        raise ValueError(
            f"layerwise needs at least one layer, got an empty dictionary for {name}; pass arrays."
        )
    return parts, names


def _shape_of(part: Any) -> tuple[int, ...]:
    return tuple(getattr(part, "shape", ()))


def _align_layers(samples: Samples) -> Samples:
    """Bring named layers into the order of the first variable that names them."""
    order = samples.layer_names
    aligned = []
    for variable in samples:
        names = variable.layer_names
        if order is not None and names is not None and names != order:
            if set(names) != set(order):
                other = next(v.name for v in samples if v.layer_names == order)
                unknown = sorted(set(names) ^ set(order))
                raise ValueError(
                    f"layers must have the same names in all variables that name them, got {_first(unknown)} in one of "
                    f"{other} and {variable.name} only; pass lists of arrays to pair layers by their position."
                )
            tables = tuple(variable.layers[names.index(name)] for name in order)
            variable = variable._replace(layers=tables, layer_names=order)
        aligned.append(variable)
    return Samples(*aligned)


def _check_shapes(samples: Samples, *, layers: bool) -> None:
    shapes = ", ".join(f"{variable.name} {variable.shape}" for variable in samples)
    expected = "(n, d), or (L, n, d) with layers" if layers else "(n, d)"
    for variable in samples:
        ranks = {table.values.ndim for table in variable.layers}
        sizes = [size for table in variable.layers for size in table.values.shape]
        if ranks == {1} and sizes[0] > 0:
            raise ValueError(
                f"samples must have shape {expected}, got {shapes}: {variable.name} is 1-D; pass "
                f"{variable.name}[:, None] if it is one feature."
            )
        if ranks != {2} or 0 in sizes or not variable.layers or (variable.has_layers and not layers):
            remedy = "use layerwise for layers" if variable.has_layers and not layers else "a row is a sample"
            raise ValueError(f"samples must have shape {expected}, got {shapes}; {remedy}.")
    if layers and len({len(variable.layers) for variable in samples if variable.has_layers}) != 1:
        raise ValueError(
            f"layerwise needs an axis of layers, of equal length in all variables that have one, got {shapes}; use "
            f"estimate without layers."
        )
    if len({len(table.values) for variable in samples for table in variable.layers}) != 1:
        raise ValueError(
            f"target, x and y must have the same samples in the same order, got {shapes}; a row is a sample."
        )
    if samples.n < MIN_SAMPLES:
        raise ValueError(f"an estimate needs at least {MIN_SAMPLES} samples, got {shapes}; add samples.")


def _layer_name(variable: Variable, index: int) -> str:
    if not variable.has_layers:
        return variable.name
    return f"layer {variable.layer_names[index] if variable.layer_names else index} of {variable.name}"


def _check_labels(name: str, table: FeatureTable, *, allowed: bool) -> None:
    if allowed or "category" not in table.kinds:
        return
    column = table.kinds.index("category")
    labels = table.labels[column]
    place = f"column {table.names[column]!r} of {name}" if table.names else name
    raise ValueError(
        f"samples must be real numbers, got {len(labels)} labels in {place}, such as {_first(map(repr, labels))}; "
        f"declare the variable categorical with `kinds`, or decompose counts of labels with `pid.discrete`."
    )


def _check_complete(name: str, table: FeatureTable) -> None:
    """Raise ValueError if values are missing, NaN or infinite."""
    values = table.values
    if values.dtype.kind in "biu":
        return
    finite = np.isfinite(np.asarray(values, np.float64) if values.dtype.itemsize > 8 else values)
    if finite.all():
        return
    count, rows = int((~finite).sum()), int((~finite).any(axis=1).sum())
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    column = f", column {table.names[first[1]]!r}" if table.names else ""
    missing = f" ({table.missing} are masked or missing)" if table.missing else ""
    raise ValueError(
        f"samples must be finite, got {count} values of {name} that are not, the first at {first}{column}{missing}; "
        f"drop these samples ({rows} of {len(values)} rows) from all three variables, or impute the values."
    )


def _check_rows(samples: Samples) -> None:
    """Raise ValueError if two tables have rows of different labels."""
    tables = [
        (_layer_name(variable, index), table.rows)
        for variable in samples
        for index, table in enumerate(variable.layers)
        if table.rows is not None
    ]
    for name, rows in tables[1:]:
        first, labels = tables[0]
        if rows != labels:
            row = next(i for i, pair in enumerate(zip(labels or (), rows, strict=True)) if pair[0] != pair[1])
            raise ValueError(
                f"target, x and y must have the same samples in the same order, got tables whose row labels differ: "
                f"row {row} is {(labels or ())[row]!r} in {first} and {rows[row]!r} in {name}; select the same rows by "
                f".loc, or pass .to_numpy() if they are in the same order."
            )


def _first(labels: Any) -> str:
    """Join the first labels."""
    labels = list(labels)
    return ", ".join(labels[:SHOWN]) + ", ..." * (len(labels) > SHOWN)
