"""Accuracy on ListOps by the depth of the sequences, where a test set has more than one depth.

Legend: n test examples, in the order of the split.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.console import Console

from experiments.data import listops
from experiments.lra.learned.example_hits import Hits
from experiments.run.report import Layout, Table, show

ByDepth = dict[str, dict[str, Any]]
"""Depth -> accuracy of the last weights, and number of examples."""


def of_hits(tokens: UInt8[np.ndarray, "n T"], hits: Hits | None) -> ByDepth:
    """Return the accuracies of a training by depth; empty for one depth, and without hits.

    Args:
        tokens: test sequences.
        hits: which of them are right.
    """
    by_depth = {} if hits is None else listops.accuracy_by_depth(tokens, hits.last)
    return {str(depth): row._asdict() for depth, row in by_depth.items()} if len(by_depth) > 1 else {}


def tabulate_depths(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the mean accuracies over seeds, variants by depths; None if no row of the summary has depths."""
    rows = [row for row in rows if row.get("accuracy_by_depth")]
    if not rows:
        return None
    levels = rows[0]["accuracy_by_depth"]
    table = Table("Accuracy in % by depth, after the last step", ("variant", *levels), [])
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row["accuracy_by_depth"] for row in rows if row["variant"] == variant]
        means = (statistics.fmean(by_depth[level]["accuracy"] for by_depth in own) for level in levels)
        table.rows.append((variant, *(f"{100 * mean:.1f}" for mean in means)))
    table.rows.extend([(), ("test examples", *(f"{level['examples']:,}" for level in levels.values()))])
    return table


def show_depths(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the accuracies by depth, if the rows of the summary have them."""
    if (table := tabulate_depths(rows)) is not None:
        show([table], console, Layout(justify="right"))
