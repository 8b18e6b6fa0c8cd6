"""Parameters of Pathfinder for each image size, as the Long Range Arena set them [Tay et al. 2021]."""

from typing import NamedTuple


class WindowSize(NamedTuple):
    """Parameters that depend on the image size. Lengths are in pixels."""

    size: int
    """Height and width of an image."""
    padding: int
    """Width of the border that segments avoid."""
    length: int
    """Length of a segment."""
    thickness: float
    """Half the width of the line that draws a segment."""
    margins: tuple[int, ...]
    """Gaps between the segments of a contour; an image has one of them."""
    seed_distance: int
    """Distance between the first segments of the two long contours."""
    marker_radius: float
    """Radius of a marker."""
    continuity: float
    """Factor of the angle between neighboring segments; a larger one gives straighter contours."""
    distractor_segments: int
    """Segments of all short contours of an image, before the division by their length."""
    contrast: float
    """Contrast of the short contours."""
    segment_contrast: float
    """Factor of the contrast of the long contours."""


SIZES = {
    32: WindowSize(32, 1, 2, 0.5, (1,), 7, 1.5, 1.0, 20, 2.0, 0.75),
    64: WindowSize(64, 1, 5, 1.0, (1,), 12, 2.5, 1.8, 22, 0.8, 1.0),
    128: WindowSize(128, 1, 5, 1.5, (2, 3), 20, 3.0, 1.8, 35, 0.9, 1.0),
    256: WindowSize(256, 22, 5, 2.0, (3,), 27, 5.0, 1.8, 30, 1.0, 1.0),
}
"""Image size -> its parameters. The contours of the benchmark are 6, 9 or 14 (its "hard" sets) segments long."""


def distractor_counts(window: WindowSize, contour: int) -> tuple[int, int]:
    """Return the number of short contours of an image, and the number of segments of each."""
    segments = contour // 3
    return window.distractor_segments // segments, segments


def window_size(size: int, contour: int) -> WindowSize:
    """Return the parameters of an image size.

    Args:
        size: height and width of an image: 32, 64, 128 or 256.
        contour: segments of a long contour, 3 or more.

    Raises:
        ValueError: there is no such size, or the contours are too short for distractors.
    """
    if size not in SIZES:
        raise ValueError(
            f"Pathfinder images have a size among {', '.join(map(str, SIZES))}, got {size}; take one of these."
        )
    if contour < 3:
        raise ValueError(
            f"a Pathfinder contour has 3 segments or more, got contour={contour}; the benchmark has 14."
        )
    return SIZES[size]
