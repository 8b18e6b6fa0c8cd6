"""Check of a reduction: what it kept, and what it dropped although it is informative.

d features, k coordinates; information in bits
"""

import numpy as np

from pid.features.gaussianize import PCA
from pid.features.reduction import NAMES, Reduced, joint_information
from pid.features.regression import CrossFittedRegression
from pid.interface.flags import Flag, Weight

MIN_DROPPED = 0.05
"""Dropped information below this, in bits, is noise."""
NOTABLE_SHARE = 0.1
"""A dropped share of the information above this is a doubt."""
LARGE_SHARE = 0.5
"""A dropped share of the information above this makes an estimate unusable."""


def reduction_flags(
    reduced: Reduced, columns: tuple[np.ndarray, ...], reduce: PCA | CrossFittedRegression
) -> list[Flag]:
    """Return what was kept of each variable that was cut, and a doubt if what was dropped is informative."""
    coordinates = (reduced.target, reduced.x, reduced.y)
    sizes = [(name, c.shape[1], k.shape[1]) for name, c, k in zip(NAMES, columns, coordinates, strict=True)]
    cut = [
        f"{name} {k} coordinates of {d} features ({100 * share:.0f} % of the variance)"
        for (name, d, k), share in zip(sizes, reduced.variance, strict=True)
        if share < 1 - 1e-9
    ]
    if not cut:
        return []
    information = joint_information(reduced.target, np.concatenate(coordinates[1:], axis=1))
    flags = [Flag(f"kept of {'; of '.join(cut)}.", "note", "reduced features")]
    if (weight := _weight(reduced.dropped, information)) is not None:
        remedy = (
            "the samples are few for so many features; add samples, or use reduce=None if they allow it"
            if isinstance(reduce, CrossFittedRegression)
            else "use the default reduction, which is aware of the target, more components, or reduce=None"
        )
        text = (
            f"the features have {reduced.dropped:.2f} bits about the target beside the {max(information, 0):.2f} bits "
            f"of the coordinates that were kept; {remedy}."
        )
        flags.append(Flag(text, weight, "dropped information"))
    if (weight := _weight(reduced.dropped_target, information)) is not None:
        text = (
            f"the sources have {reduced.dropped_target:.2f} bits about what was dropped of the target; the estimate "
            f"is about its {reduced.target.shape[1]} leading components only; choose what of the target you ask about."
        )
        flags.append(Flag(text, "doubt", "dropped target"))
    return flags


def _weight(dropped: float, information: float) -> Weight | None:
    total = dropped + max(information, 0)
    if dropped < MIN_DROPPED or dropped < NOTABLE_SHARE * total:
        return None
    return "unusable" if dropped > LARGE_SHARE * total else "doubt"
