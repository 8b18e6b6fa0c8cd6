"""The invented numbers beside the honest ones: perplexity per token against the length to which lines are padded."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.lm.padding.padded_training import PaddedScores
from experiments.run.report import Table

Pairs = Mapping[int, Sequence[tuple[PaddedScores, PaddedScores]]]
"""Length -> scores of the official baseline and of the official PDE model for every seed."""


class Pattern(NamedTuple):
    """Means over the seeds at one length; perplexities are exponentials of mean nats."""

    length: int
    pad_share: float
    baseline: float
    """Perplexity of the baseline as published: PAD counted, states at PAD 0."""
    pde: float
    """Perplexity of the PDE model as published: PAD counted."""
    same_weights: float
    """Perplexity of the baseline, PAD counted, with its own states at PAD: the other number of the same weights."""
    honest_baseline: float
    """Perplexity of the baseline without PAD."""
    honest_pde: float
    """Perplexity of the PDE model without PAD."""

    @property
    def gain(self) -> float:
        """Share by which the perplexity falls as published."""
        return 1 - self.pde / self.baseline

    @property
    def gain_of_the_path(self) -> float:
        """Share by which it falls between the two paths of the baseline: equal weights, no PDE."""
        return 1 - self.same_weights / self.baseline

    @property
    def honest_gain(self) -> float:
        """Share by which it falls if PAD is not counted."""
        return 1 - self.honest_pde / self.honest_baseline


def pattern(pairs: Pairs) -> list[Pattern]:
    """Return the perplexities at every length."""
    return [_pattern(length, scores) for length, scores in pairs.items()]


def _pattern(length: int, scores: Sequence[tuple[PaddedScores, PaddedScores]]) -> Pattern:
    baseline, pde = (np.mean([pair[i] for pair in scores], axis=0) for i in (0, 1))
    baseline, pde = PaddedScores(*baseline), PaddedScores(*pde)
    return Pattern(
        length,
        baseline.pad_share,
        *map(
            math.exp,
            (baseline.zeroed, pde.counted, baseline.counted, baseline.real, pde.real),
        ),
    )


def is_published_pattern(rows: Sequence[Pattern]) -> bool:
    """Return whether the perplexity of the baseline grows with the length while that of the PDE model falls, and the
    gain exceeds 90 % at the longest one although the path alone explains it.
    """
    grows = all(a.baseline < b.baseline for a, b in zip(rows, rows[1:], strict=False))
    falls = all(a.pde > b.pde for a, b in zip(rows, rows[1:], strict=False))
    return len(rows) > 1 and grows and falls and min(rows[-1].gain, rows[-1].gain_of_the_path) > 0.9


def table(rows: Sequence[Pattern], causal: Mapping[int, tuple[str, float, float]], title: str) -> Table:
    """Return the table: a row for each length.

    Args:
        rows: perplexities at every length.
        causal: length -> name of a causal variant, and perplexity per token of the causal baseline and of it.
        title: name of the text.
    """
    variant_name = next((name for name, *_ in causal.values()), "PDE")  # it may be a control
    columns = (
        *("length", "PAD", "baseline", "PDE", "gain", "by the path alone"),
        *("without PAD: baseline", "PDE", "gain", "causal: baseline", variant_name, "gain"),
    )
    cells = []
    for row in rows:
        name, baseline, variant = causal.get(row.length, ("", math.nan, math.nan))
        honest = (
            (f"{baseline:,.1f}", f"{variant:,.1f}", _percent(1 - variant / baseline)) if name else ("",) * 3
        )
        cells.append(
            (
                *(str(row.length), _percent(row.pad_share), f"{row.baseline:,.2f}", f"{row.pde:,.2f}"),
                *(_percent(row.gain), _percent(row.gain_of_the_path), f"{row.honest_baseline:,.2f}"),
                *(f"{row.honest_pde:,.2f}", _percent(row.honest_gain), *honest),
            )
        )
    return Table(f"The artifact of padding, perplexity per token: {title}", columns, cells)


def conclusion(rows: Sequence[Pattern]) -> str:
    """Return what the numbers say."""
    last = rows[-1]
    numbers = (
        f"with PAD counted the perplexity falls by {_percent(last.gain)} at length {last.length}, and by "
        f"{_percent(last.gain_of_the_path)} between two evaluations of the baseline's own weights; without PAD it "
        f"falls by {_percent(last.honest_gain)}"
    )
    if is_published_pattern(rows):
        return f"the published pattern, without any effect of the PDE: {numbers}"
    return f"the published pattern is not there: {numbers}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
