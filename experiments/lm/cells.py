"""The trainings of a run: every causal variant at every length and on every share of the training text."""

import dataclasses
import math
from typing import NamedTuple

from experiments.data import arrays
from experiments.data.language_modeling import CorpusConfig
from experiments.lm.config import BASELINE, Config


class Cell(NamedTuple):
    """One training, for every seed."""

    variant: str
    """Name of the variant, see `Config.variants`."""
    length: int
    """Tokens T of a block."""
    share: float
    """Share of the training text."""
    name: str
    """Name of the training in the run: the variant, and what else differs between the trainings of this run."""
    baseline: str
    """Name of the training that it is compared with: the baseline of equal length and share."""


def cells(config: Config) -> list[Cell]:
    """Return the trainings of a run in their order."""
    return [
        _cell(config, variant, length, share)
        for length in config.lengths
        for share in config.shares
        for variant in config.variants()
    ]


def _cell(config: Config, variant: str, length: int, share: float) -> Cell:
    suffix = f"_T{length}" if len(config.lengths) > 1 else ""
    suffix += f"_{100 * share:g}percent" if len(config.shares) > 1 else ""
    return Cell(variant, length, share, variant + suffix, BASELINE + suffix)


def corpus(config: Config, length: int) -> CorpusConfig:
    """Return the text in blocks of a length."""
    return dataclasses.replace(config.text, max_len=length)


def first_blocks(split: arrays.Split, share: float) -> arrays.Split:
    """Return the first blocks of a split, at least one.

    Args:
        split: the split.
        share: share of its blocks, rounded up.
    """
    count = max(1, math.ceil(share * len(split.labels)))
    return split._replace(
        tokens=split.tokens[:count], lengths=split.lengths[:count], labels=split.labels[:count]
    )
