"""What a search returns, and the rules that both searches follow."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

TRIES = 3
"""Attempts at a first segment, and draws of a candidate for another."""
DISTRACTOR_TRIES = 5
"""Attempts at a short contour; without success, the image has one less."""
SMALLEST_WEIGHT = 1e-4
"""A contour ends here if the weights of all candidates have a smaller sum."""
FREE_SHARE = 0.01
"""A short contour needs this share of free pixels."""

MAX_STARTS = 1_000_000
"""Attempts at an image; the sets of the benchmark need a few thousand."""

Point = tuple[int, int]
"""Coordinates (y, x)."""


class Scene(NamedTuple):
    """The contours of one image. Pictures have the frame of the tables and one axis."""

    targets: UInt8[np.ndarray, " F*F"]
    """Brightness of the two long contours."""
    distractors: UInt8[np.ndarray, " F*F"]
    """Brightness of the short contours."""
    origin: Point
    """Marker at the start of a long contour."""
    tip: Point
    """Marker at the end of a long contour."""
    starts: int
    """Number of attempts at the two long contours, the successful one included."""


def no_room(size: int, contour: int) -> ValueError:
    """Return the error for contours that are too long for the image."""
    return ValueError(
        f"two contours of {contour} segments must fit an image of size {size}, got none in {MAX_STARTS:,} attempts; "
        "lower contour, or take a larger size."
    )
