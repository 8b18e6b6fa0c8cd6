"""Results of an estimation. Information is in bits; with layers, the first axis of every field of a PID is the layer.

L layers, B draws
"""

import textwrap
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid.interface.flags import Flag, Verdict, by_weight, verdict
from pid.measures import PID, Interval

Dims = tuple[int, ...]
Shares = tuple[float, float, float]

FIELDS = ("redundancy", "unique_x", "unique_y", "synergy", "mi_x", "mi_y", "mi_joint")
"""Fields of a PID that records and tables list: all but the union, which is R + U_x + U_y."""


class Resampling(NamedTuple):
    """Specification of bootstrap draws. Two estimates can be compared only if their specifications are equal.

    Example:
        >>> from pid.estimators import Resampling
        >>> Resampling("paired", 200, 0.9, (0, 0)).kind
        'paired'
    """

    kind: str
    """Kind of the draws, "parametric" or "paired"; see `Bootstrap`."""

    draws: int
    """Number of draws."""

    level: float
    """Level of the intervals, between 0 and 1."""

    key: tuple[int, ...]
    """The random key as integers."""

    scheme: str = "samples"
    """What one draw resamples: "samples", "blocks of 30", or "groups" with a checksum of their labels."""


class Estimate(NamedTuple):
    """A partial information decomposition estimated from samples, in bits.

    Returned by `estimate` (fields of shape `()`) and by `layerwise` (fields of shape `(L,)`).

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> result = pid.estimate(target, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> result.n, result.dims
        (64, (2, 2, 2))
    """

    pid: PID
    """The decomposition, with its bias corrected by the method `debias`."""

    ci: Interval | None
    """Bootstrap intervals around the corrected values; None without `ci`."""

    null: Interval | None
    """Quantiles of the corrected values with the target shuffled against both sources; None without `null`."""

    draws: PID | None
    """Corrected values of the bootstrap draws, fields of shape `(B,)` or `(B, L)`; None without `ci`."""

    flags: tuple[Flag, ...]
    """What was reduced or dropped, and what is doubtful, in plain sentences. With layers each begins "layer l: "."""

    n: int
    """Number of samples."""

    dims: Dims | tuple[Dims, ...]
    """Coordinates of target, x and y that were used; one triple for each layer."""

    plugin: PID
    """The uncorrected decomposition."""

    resampling: Resampling | None
    """Specification of the draws; None without `ci`."""

    choices: tuple[tuple[str, str], ...] = ()
    """Name and value of every choice but `ci` and `null`; () if a file of an earlier version does not say."""

    layer_names: tuple[str, ...] | None = None
    """Names of the layers, if they were passed as a dictionary."""

    variance: Shares | tuple[Shares, ...] | None = None
    """Share of the variance of target, x and y that their coordinates explain; one triple for each layer."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on the estimate: "sound", "doubtful" or "not to be used".

        It is the one of the heaviest flag; `reasons` lists them.
        """
        return verdict(self.flags)

    @property
    def reasons(self) -> tuple[Flag, ...]:
        """The flags that weigh more than a note, the heaviest first."""
        return tuple(flag for flag in by_weight(self.flags) if flag.weight != "note")

    def __str__(self) -> str:
        """Return the estimate as a table: values, intervals, null, verdict, flags in order of weight."""
        return report(self)

    def to_records(self) -> list[dict[str, Any]]:
        """List the estimate as plain dictionaries, one for each layer, for JSON, CSV or a data frame.

        Returns:
            One dictionary for each layer (a single one without layers), in bits, of plain Python numbers, texts and
            None. Keys: layer, layer_name if the layers have names, n, dim_target, dim_x, dim_y; for every quantity q of
            `FIELDS`: q, q_plugin, the interval from q_low to q_high, the null from q_null_low to q_null_high; verdict;
            flags, joined by spaces. Values that were not requested are None.

        Example:
            >>> import jax, numpy as np
            >>> import pid
            >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
            >>> result = pid.estimate(target, x, y, key=jax.random.key(0), ci=None, null=None)
            >>> record, = result.to_records()
            >>> record["n"], record["dim_x"], record["mi_joint_low"]
            (64, 2, None)
        """
        layered = np.ndim(self.pid.mi_joint) == 1
        return [
            self._record(layer, layered=layered) for layer in range(len(self.pid.mi_joint) if layered else 1)
        ]

    def to_frame(self) -> Any:
        """Return the records as a data frame of pandas, one row for each layer.

        Returns:
            `pandas.DataFrame` with the columns of `to_records`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas, which is not installed; pip install pandas, or use to_records()."
            ) from error
        return pandas.DataFrame(self.to_records())

    def _record(self, layer: int, *, layered: bool) -> dict[str, Any]:
        pids = {"": self.pid, "_plugin": self.plugin}
        for name, interval in (("", self.ci), ("_null", self.null)):
            low, high = (None, None) if interval is None else interval
            pids |= {f"{name}_low": low, f"{name}_high": high}
        dims: Any = self.dims[layer] if layered else self.dims
        flags = flags_of(self, layer)
        record: dict[str, Any] = {"layer": layer}
        if self.layer_names is not None:
            record["layer_name"] = self.layer_names[layer]
        record["n"] = int(self.n)
        record |= {f"dim_{name}": int(d) for name, d in zip(("target", "x", "y"), dims, strict=True)}
        record |= {
            f"{field}{suffix}": _value_at(pid, field, layer)
            for field in FIELDS
            for suffix, pid in pids.items()
        }
        return record | {"verdict": verdict(flags), "flags": " ".join(flags)}


def _value_at(pid: PID | None, field: str, layer: int) -> float | None:
    return None if pid is None else float(np.atleast_1d(getattr(pid, field))[layer])


def pid_from_array(values: np.ndarray) -> PID:
    """Make a PID from an array whose last axis holds its fields."""
    return PID(*(values[..., i] for i in range(len(PID._fields))))


def pid_to_array(pid: PID) -> np.ndarray:
    """Make an array whose last axis holds the fields of a PID; the inverse of `pid_from_array`."""
    return np.stack([np.asarray(field) for field in pid], axis=-1)


def key_data(key: jax.Array) -> tuple[int, ...]:
    """Return a random key as comparable integers."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return tuple(int(part) for part in np.asarray(data).ravel())


def flags_of(estimate: Estimate, layer: int) -> list[Flag]:
    """Return the flags of one layer without its number, or all flags of an estimate without layers."""
    flags = by_weight(estimate.flags)
    if np.ndim(estimate.pid.mi_joint) == 0:
        return flags
    return [flag.without_layer(layer) for flag in flags if flag.startswith(f"layer {layer}: ")]


SYMBOLS = dict(zip(FIELDS, ("R", "U_x", "U_y", "S", "I_x", "I_y", "I_xy"), strict=True))
WIDTH = 78
"""Characters of a line of the report."""


def report(estimate: Estimate) -> str:
    """Return an estimate as text for a terminal: a table for each layer, then its verdict and its flags."""
    layered = np.ndim(estimate.pid.mi_joint) == 1
    count = len(estimate.pid.mi_joint) if layered else 1
    names = estimate.layer_names or [str(layer) for layer in range(count)]
    blocks = [
        "\n".join([*([f"layer {names[layer]}"] if layered else []), *_layer_lines(estimate, layer)])
        for layer in range(count)
    ]
    return "\n\n".join(blocks)


def _layer_lines(estimate: Estimate, layer: int) -> list[str]:
    flags = flags_of(estimate, layer)
    dims = np.atleast_2d(np.array(estimate.dims))[layer]
    level = "" if estimate.resampling is None else f" {100 * estimate.resampling.level:g} %"
    lines = [
        f"{estimate.n} samples; {dims[0]}, {dims[1]} and {dims[2]} coordinates of target, x and y; bits",
        f"{'':8}{'value':>9}{'interval' + level:>22}{'without dependence':>22}",
    ]
    for field, symbol in SYMBOLS.items():
        ends = [_interval_text(interval, field, layer) for interval in (estimate.ci, estimate.null)]
        lines.append(f"{symbol:8}{_value_at(estimate.pid, field, layer):>9.3f}{ends[0]:>22}{ends[1]:>22}")
    lines.append(f"verdict: {verdict(flags)}")
    for flag in flags:
        lines += textwrap.wrap(f"{flag.weight}: {flag}", WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def _interval_text(interval: Interval | None, field: str, layer: int) -> str:
    if interval is None:
        return "-"
    return f"[{_value_at(interval.low, field, layer):.3f}, {_value_at(interval.high, field, layer):.3f}]"
