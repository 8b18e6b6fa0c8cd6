"""Segments of a contour and the mask, compiled by numba.

A contour is an array with a row for each segment: the index of its angle, its pivot, its head, and its anchor, which
is the place of its stamps.

n segments, A angles, C candidates, F side of an image with its frame
"""

import math

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from experiments.data.pathfinder.search.contour_scene import SMALLEST_WEIGHT, TRIES
from experiments.data.pathfinder.search.search_tables import DEGREES, FREE_LEVEL, SearchTables
from experiments.data.pathfinder.search.twister import State, compiled, uniform

ANGLE, PIVOT, HEAD, ANCHOR, FIELDS = 0, 1, 3, 5, 7
"""Columns of a contour, and their number."""

Snake = Int64[np.ndarray, "n 7"]
"""A contour."""
Segment = Int64[np.ndarray, " 7"]
"""A row of a contour."""
Mask = UInt8[np.ndarray, " F*F"]
"""The mask, or the brightness of lines."""
Weights = Float64[np.ndarray, " C"]
"""Weights of the candidates."""


@compiled
def place(tables: SearchTables, y: int, x: int) -> int:
    """Return the position of a point in a mask."""
    return (y + tables.frame) * tables.side + x + tables.frame


@compiled
def combine(
    plane: Mask,
    center: int,
    starts: Int64[np.ndarray, " A+1"],
    offsets: Int32[np.ndarray, " m"],
    values: UInt8[np.ndarray, " m"],
    angle: int,
) -> None:
    """Write the maximum of a plane and the stamp of an angle to the plane."""
    for k in range(starts[angle], starts[angle + 1]):
        plane[center + offsets[k]] = max(plane[center + offsets[k]], values[k])


@compiled
def occupy(tables: SearchTables, segment: Segment, mask: Mask) -> None:
    """Write the area of a segment to the mask."""
    center = place(tables, segment[ANCHOR], segment[ANCHOR + 1])
    combine(mask, center, tables.area_starts, tables.area_offsets, tables.area_values, segment[ANGLE])


@compiled
def draw_lines(tables: SearchTables, snake: Snake, plane: Mask) -> None:
    """Draw all segments of a contour."""
    for segment in snake:
        center = place(tables, segment[ANCHOR], segment[ANCHOR + 1])
        combine(plane, center, tables.line_starts, tables.line_offsets, tables.line_values, segment[ANGLE])


@compiled
def collides(tables: SearchTables, mask: Mask, center: int, angle: int) -> bool:
    """Return whether the area of a segment and the mask have too large a sum at a pixel of the image."""
    for k in range(tables.solid_starts[angle], tables.solid_starts[angle + 1]):
        position = center + tables.solid_offsets[k]
        if mask[position] >= tables.solid_limits[k] and tables.inside[position]:
            return True
    return False


@compiled
def place_seed(tables: SearchTables, size: int, angle: int, y: int, x: int, segment: Segment) -> bool:
    """Write a first segment with tail (y, x); return False if it leaves the image."""
    segment[ANGLE], segment[ANCHOR], segment[ANCHOR + 1] = angle, y, x
    inside = True
    for axis in range(2):
        head = math.ceil(segment[ANCHOR + axis] + tables.head_offsets[angle, axis])
        pivot = math.ceil(head + tables.pivot_offsets[angle, axis])
        segment[HEAD + axis], segment[PIVOT + axis] = head, pivot
        inside = inside and min(head, pivot) >= 0 and max(head, pivot) < size
    return inside


@compiled
def free_points(tables: SearchTables, size: int, mask: Mask, angle: int) -> Int32[np.ndarray, " m"]:
    """Return the points y · size + x of a mask whose window is free."""
    first, last = tables.window_starts[angle], tables.window_starts[angle + 1]
    if first == last:
        return np.zeros(0, np.int32)
    blocked = np.zeros(tables.side * size, np.uint8)
    start = tables.frame * tables.side
    barrier = np.zeros(len(mask), np.uint8)
    for i in range(len(mask)):
        barrier[i] = (mask[i] > FREE_LEVEL) & tables.inside[i]
    for k in range(first, last):
        shift = start + tables.window_offsets[k]
        for i in range(len(blocked)):
            blocked[i] |= barrier[shift + i]
    points = np.zeros(size * size, np.int32)
    count = 0
    for y in range(size):
        for x in range(size):
            if not blocked[y * tables.side + tables.frame + x]:
                points[count] = y * size + x
                count += 1
    return points[:count]


@compiled
def weigh(tables: SearchTables, mask: Mask, center: int, angle: int, weights: Weights) -> float:
    """Write the weights of the candidates around a pivot, and return their sum."""
    total = 0.0
    for c in range(len(weights)):
        weights[c] = 0.0
        if tables.turns[angle, c] > 0:
            peak = 0
            for offset in tables.candidate_discs[c]:
                peak = max(peak, mask[center + offset])
                if peak == 255:
                    break
            weights[c] = (1 - peak / 255) * tables.turns[angle, c]
        total += weights[c]
    return total


@compiled
def draw_candidate(state: State, weights: Weights, total: float) -> int:
    """Return the first candidate whose share, added to those before it, exceeds a random number."""
    threshold, cumulative, last = uniform(state), 0.0, 0
    for c in range(len(weights)):
        if weights[c] > 0:
            cumulative += weights[c] / total
            last = c
            if cumulative > threshold:
                break
    return last


@compiled
def extend(state: State, tables: SearchTables, mask: Mask, weights: Weights, snake: Snake, i: int) -> bool:
    """Add segment i to a contour, and segment i - 1 to the mask; return False if there is no room."""
    last, segment = snake[i - 1], snake[i]
    for axis in range(2):
        segment[PIVOT + axis] = math.ceil(last[PIVOT + axis] + tables.step_offsets[last[ANGLE], axis])
    center = place(tables, segment[PIVOT], segment[PIVOT + 1])
    total = weigh(tables, mask, center, last[ANGLE], weights)
    if total < SMALLEST_WEIGHT:
        return False
    for _ in range(TRIES):
        c = draw_candidate(state, weights, total)
        dy, dx = tables.candidates[c, 0], tables.candidates[c, 1]
        if not collides(tables, mask, center + dy * tables.side + dx, DEGREES + c):
            segment[ANGLE] = DEGREES + c
            segment[HEAD] = segment[ANCHOR] = segment[PIVOT] + dy
            segment[HEAD + 1] = segment[ANCHOR + 1] = segment[PIVOT + 1] + dx
            occupy(tables, last, mask)
            return True
    return False
