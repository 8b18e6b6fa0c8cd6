"""Statistics that a data set must have: means over examples, compared within their sampling errors.

A statistic is one number for each example. Its mean here and its known mean differ by at most `MAX_Z` standard errors;
a known mean is sampled as well, or it is exact if it follows from the definition. All of them are of the split train.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from experiments.data.arrays import Split
from experiments.data.arrays.store import NO_LABEL
from experiments.data.data_catalog import DataConfig
from experiments.data.recall import RecallConfig
from experiments.data.recall.mqar import key_ids
from experiments.data.recall.selective_copy import data_ids

MAX_Z = 5.0
"""Standard errors that are no deviation; by chance one statistic in two million has more."""
ROWS_AT_ONCE = 1024
Values = Callable[[Split], Float64[np.ndarray, " n"]]


class Known(NamedTuple):
    """A known statistic."""

    name: str
    """What is averaged."""
    values: Values
    """Some rows -> a number for each of them."""
    mean: float
    """The known mean."""
    examples: float = math.inf
    """Number of examples of the known mean; infinite if it follows from the definition."""
    is_share: bool = False
    """Whether the numbers are 0 and 1, so that their variance follows from the known mean."""


class Comparison(NamedTuple):
    """A known statistic, and what it is here."""

    name: str
    known: float
    here: float
    z: float
    """Difference in standard errors; infinite if a constant is another one."""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the sampling error."""
        return abs(self.z) <= MAX_Z


def _lengths(rows: Split) -> np.ndarray:
    return rows.lengths.astype(float)


def _is_short(length: int, rows: Split) -> np.ndarray:
    return (rows.lengths <= length).astype(float)


def _has_label(label: int, rows: Split) -> np.ndarray:
    return (rows.labels == label).astype(float)


def _mean_value(rows: Split) -> np.ndarray:
    return rows.tokens.mean(axis=1)


def _share_above_zero(rows: Split) -> np.ndarray:
    return (rows.tokens > 0).mean(axis=1)


def _labels_of_a_row(rows: Split) -> np.ndarray:
    return (rows.labels != NO_LABEL).sum(axis=1).astype(float)


def _first_token(rows: Split) -> np.ndarray:
    return rows.tokens[:, 0].astype(float)


def _mean_label(rows: Split) -> np.ndarray:
    return rows.labels.sum(axis=1, where=rows.labels != NO_LABEL) / (rows.labels != NO_LABEL).sum(axis=1)


LISTOPS = (
    Known("length", _lengths, 1033, 16_000),
    *(
        Known(f"length <= {length}", partial(_is_short, length), share, 16_000, is_share=True)
        for length, share in ((538, 0.05), (701, 0.25), (948, 0.5), (1309, 0.75), (1795, 0.95))
    ),
    Known("label 0", partial(_has_label, 0), 0.173, 16_000, is_share=True),
    Known("label 9", partial(_has_label, 9), 0.174, 16_000, is_share=True),
)
"""Of 16,000 sequences of the generator of the benchmark."""
PATHFINDER32 = (
    Known("pixel", _mean_value, 20.20, 1_000),
    Known("share of pixels > 0", _share_above_zero, 0.342, 1_000),
    Known("label 1", partial(_has_label, 1), 0.481, 1_000, is_share=True),
)
"""Of 1,000 images with a contour length of 14."""
PATHX = (
    Known("pixel", _mean_value, 7.9, 100),
    Known("share of pixels > 0", _share_above_zero, 0.136, 100),
)
"""The known values have two and three digits, so they are compared as if 100 images had been measured."""
TEXT = (Known("label 1", partial(_has_label, 1), 0.5, is_share=True),)
"""Both classes of IMDb have 12,500 reviews in either published split."""
IMAGE = (
    Known("pixel", _mean_value, 122.6, 45_000),
    *(Known(f"label {label}", partial(_has_label, label), 0.1, is_share=True) for label in range(10)),
)
"""Every class of CIFAR-10 has 5,000 of the training images; others subtract the mean 122.6 of the gray values."""
KNOWN: dict[str, tuple[Known, ...]] = {
    "listops": LISTOPS,
    "text": TEXT,
    "text-lra-protocol": TEXT,
    "image": IMAGE,
    "pathfinder32": PATHFINDER32,
    "pathx": PATHX,
}
"""Name of a data set -> its known statistics, not those of a stand-in."""
LACKING = {("pathfinder32-easy", "lra_release"): 1}
"""(name, source) -> examples that a published data set lacks in one of its splits: an empty image of the release."""


def known_statistics(name: str, config: DataConfig) -> tuple[Known, ...]:
    """Return what is known of the split train of a data set.

    Args:
        name: its name in the registry.
        config: its configuration.

    Returns:
        The statistics; none if nothing is known.
    """
    if isinstance(config, RecallConfig):
        return _of_recall(config)
    return () if config.is_stand_in else KNOWN.get(name, ())


def _of_recall(config: RecallConfig) -> tuple[Known, ...]:
    rows = Known("labels of a row", _labels_of_a_row, config.items)
    if config.task == "selective_copy":
        ids = data_ids(config.vocabulary)
        return (rows, Known("label", _mean_label, (ids[0] + ids[-1]) / 2))
    keys = key_ids(config.vocabulary)
    return (rows, Known("first token", _first_token, (keys[0] + keys[-1]) / 2))


def compare(split: Split, known: Sequence[Known]) -> list[Comparison]:
    """Compare the statistics of a split with the known ones.

    Args:
        split: the split, which is read block by block.
        known: the known statistics.

    Returns:
        One comparison for each.
    """
    blocks: list[list[np.ndarray]] = [[] for _ in known]
    for start in range(0, len(split.labels), ROWS_AT_ONCE):
        end = start + ROWS_AT_ONCE
        rows = split._replace(
            tokens=split.tokens[start:end], lengths=split.lengths[start:end], labels=split.labels[start:end]
        )
        for statistic, values in zip(known, blocks, strict=True):
            values.append(statistic.values(rows))
    return [
        _compare(statistic, np.concatenate(values)) for statistic, values in zip(known, blocks, strict=True)
    ]


def _compare(known: Known, values: Float64[np.ndarray, " n"]) -> Comparison:
    here = float(np.mean(values))
    variance = known.mean * (1 - known.mean) if known.is_share else float(np.var(values))
    error = math.sqrt(variance * (1 / len(values) + 1 / known.examples))
    difference = here - known.mean
    constant = 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return Comparison(known.name, known.mean, here, difference / error if error else constant)
