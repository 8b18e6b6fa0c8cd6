"""What an estimation gives back. Information is in bits; with layers, every field of a PID has them first."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid.measures import PID

Dims = tuple[int, ...]


class Interval(NamedTuple):
    """Both ends of an interval, field by field."""

    low: PID
    high: PID


class Resampling(NamedTuple):
    """How draws were made; two estimates can be compared only if these are equal."""

    kind: str  # "parametric" or "paired"
    draws: int
    level: float
    key: tuple[int, ...]  # the random key as numbers


class Estimate(NamedTuple):
    """A decomposition estimated from samples."""

    pid: PID  # corrected as `debias` says
    ci: Interval | None  # basic (reflected) bootstrap intervals of the corrected values
    null: (
        Interval | None
    )  # the same quantiles of the corrected values with the target shuffled against both sources
    draws: PID | None  # corrected values of the bootstrap draws, (draws,) or (draws, L)
    flags: tuple[str, ...]  # what was reduced, dropped or is doubtful, in plain sentences
    n: int  # samples
    dims: Dims | tuple[Dims, ...]  # coordinates of target, x and y that were used; one triple for each layer
    plugin: PID  # the uncorrected values
    resampling: Resampling | None


def fields_of(values: np.ndarray) -> PID:
    """A PID from an array whose last axis holds its fields."""
    return PID(*(values[..., i] for i in range(len(PID._fields))))


def values_of(pid: PID) -> np.ndarray:
    """The inverse of `fields_of`."""
    return np.stack([np.asarray(field) for field in pid], axis=-1)


def numbers_of(key: jax.Array) -> tuple[int, ...]:
    """A random key as comparable numbers."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return tuple(int(part) for part in np.asarray(data).ravel())
