"""All checks of the assumptions of one layer: kinds of columns, independent samples, Gaussian dependence, entropy.

n samples, d columns
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pid.estimators.checks.dependence import dependence_flags
from pid.estimators.checks.nonlinearity import NonlinearityTest, check_gaussian_copula, nonlinearity_flags
from pid.features.kinds import flags_of_kinds, number_rows
from pid.features.reduction import NAMES
from pid.interface.flags import Flag, verdict

MAX_COLUMNS = 256
"""Columns of a variable that are checked one by one; of wider ones so many are taken at equal distances."""

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def assumption_flags(
    samples: Parts,
    coordinates: Parts,
    information: tuple[float, float, float],
    *,
    kinds: Sequence[Sequence[str]],
    groups: Any,
    accounted: bool,
    effective_size: float | int | None,
    elliptical: bool,
    flow: bool,
    copula_test: Callable[[], NonlinearityTest] | None,
) -> list[Flag]:
    """Return the flags of all checks for one layer.

    Args:
        samples: target, x and y as they came, (n, d) each.
        coordinates: their Gaussian coordinates, (n, k) each.
        information: estimated I_x, I_y and I_xy in bits.
        kinds: kind of every column of target, x and y; a variable without kinds has no flags about them.
        groups: label of the group of every sample, or None.
        accounted: whether the estimate resamples blocks, shifts or groups.
        effective_size: number of independent samples that weigh as much; None for n.
        elliptical: whether heavy tails have been found and treated.
        flow: whether a flow made the coordinates, which may have straightened what the samples bend.
        copula_test: gives the result of `test_copula` for these samples, if it runs beside the estimate.
    """
    columns = (_some_columns(samples[0]), _some_columns(samples[1]), _some_columns(samples[2]))
    flags = [
        flag
        for name, array, own in zip(NAMES, samples, kinds, strict=True)
        for flag in flags_of_kinds(name, _some_columns(array), _some(own))
    ]
    dependence = dependence_flags(columns, coordinates, labels=groups, accounted=accounted)
    flags += dependence
    if verdict(dependence) != "not to be used":  # dependent rows look nonlinear
        target, x, y = coordinates if flow else columns
        test = None if copula_test is None else copula_test()
        nonlinear = nonlinearity_flags(target, x, y, mi=information, effective_size=effective_size, test=test)
        flags += [flag for flag in nonlinear if not (elliptical and flag.kind == "heavy tails")]
    return flags + _entropy_flags(samples[0], information)


def test_copula(columns: Parts, *, are_scores: bool) -> NonlinearityTest:
    """Test the columns of target, x and y that vary, as `assumption_flags` tests independent samples."""
    target, x, y = map(_some_columns, columns)
    return check_gaussian_copula(target, x, y, are_scores=are_scores)


def _some(values: Sequence[str]) -> list[str]:
    return [values[int(i)] for i in _indices(len(values))]


def _some_columns(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, float)[:, _indices(array.shape[1])]


def _indices(d: int) -> np.ndarray:
    return np.unique(np.linspace(0, d - 1, min(d, MAX_COLUMNS)).round().astype(int))


def _entropy_flags(target: np.ndarray, information: tuple[float, float, float]) -> list[Flag]:
    """Return a flag if the information exceeds the entropy of a target with repeated rows."""
    counts = np.bincount(number_rows(np.asarray(target, float)))
    if len(counts) > len(target) / 2:
        return []
    shares = counts / counts.sum()
    entropy = float(-np.sum(shares * np.log2(shares)))
    if not np.isfinite(information[2]) or information[2] <= entropy:
        return []
    text = (
        f"the joint information of {information[2]:.2f} bits exceeds the entropy of the target, {entropy:.2f} bits of "
        f"{len(counts)} values: a Gaussian model does not fit; pass kinds={{'target': 'categorical'}}."
    )
    return [Flag(text, "unusable", "information above the entropy")]
