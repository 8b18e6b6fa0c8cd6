"""The search for the contours of an image, compiled by numba: the same words, the same contours.

A contour is an array with a row for each segment: the index of its angle, its pivot, its head, and its anchor, which
is the place of its stamps.

n segments, C candidates, F side of an image with its frame
"""

import math

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from experiments.data.pathfinder.contour_scene import (
    DISTRACTOR_TRIES,
    FREE_SHARE,
    MAX_STARTS,
    SMALLEST_WEIGHT,
    TRIES,
    Scene,
    no_room,
)
from experiments.data.pathfinder.search_tables import DEGREES, FREE, SearchTables, search_tables
from experiments.data.pathfinder.twister import State, below, compiled, initial_state, uniform
from experiments.data.pathfinder.window_sizes import WindowSize, distractor_counts
from experiments.data.pathfinder.word_stream import Seed

ANGLE, PIVOT, HEAD, ANCHOR, FIELDS = 0, 1, 3, 5, 7

Snake = Int64[np.ndarray, "n 7"]
Mask = UInt8[np.ndarray, " F*F"]
Weights = Float64[np.ndarray, " C"]


class NumbaSearch:
    """Scenes of one stream of random numbers, compiled.

    Args:
        seed: seed of the stream.
    """

    def __init__(self, seed: Seed):
        """Start the stream."""
        self._state = initial_state(seed)

    def below(self, limit: int) -> int:
        """Return randint(0, limit)."""
        return below(self._state, limit)

    def scene(self, window: WindowSize, contour: int, margin: int, *, label: int) -> Scene:
        """Draw the contours of an image; see `NumpySearch.scene`."""
        tables = search_tables(window.size, margin)
        planes = np.zeros((2, tables.side**2), np.uint8)
        count, short = distractor_counts(window, contour)
        # The limit is an argument, because numba compiles global numbers as constants.
        y, x, tip_y, tip_x, starts = draw_scene(
            self._state, tables, window.size, contour, count, short, label, MAX_STARTS, planes[0], planes[1]
        )
        if starts > MAX_STARTS:
            raise no_room(window.size, contour)
        return Scene(planes[0], planes[1], (y, x), (tip_y, tip_x), starts)


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
def occupy(tables: SearchTables, segment: Int64[np.ndarray, " 7"], mask: Mask) -> None:
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
def place_seed(
    tables: SearchTables, size: int, angle: int, y: int, x: int, segment: Int64[np.ndarray, " 7"]
) -> bool:
    """Write a first segment with tail (y, x); return False if it leaves the image."""
    segment[ANGLE], segment[ANCHOR], segment[ANCHOR + 1] = angle, y, x
    inside = True
    for axis in range(2):
        head = math.ceil(segment[ANCHOR + axis] + tables.head_offsets[angle, axis])
        pivot = math.ceil(head + tables.pivot_offsets[angle, axis])
        segment[HEAD + axis], segment[PIVOT + axis] = head, pivot
        inside = inside and 0 <= min(head, pivot) and max(head, pivot) < size
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
        barrier[i] = (mask[i] > FREE) & tables.inside[i]
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
def first_segment(
    state: State,
    tables: SearchTables,
    size: int,
    mask: Mask,
    is_empty: bool,
    segment: Int64[np.ndarray, " 7"],
) -> bool:
    """Draw the first segment of a contour; return False if there is no room."""
    for _ in range(TRIES):
        angle = below(state, DEGREES)
        if is_empty:
            points = tables.free_points[tables.free_starts[angle] : tables.free_starts[angle + 1]]
        else:
            points = free_points(tables, size, mask, angle)
        if len(points) == 0:
            return False
        point = points[below(state, len(points))]
        if place_seed(tables, size, angle, point // size, point % size, segment):
            return True
    return False


@compiled
def second_seed(state: State, tables: SearchTables, size: int, pair: Int64[np.ndarray, "2 n 7"]) -> bool:
    """Draw the first segment of the second contour on a ring around the first."""
    for _ in range(TRIES):
        angle = below(state, DEGREES)
        ring = below(state, DEGREES)
        y = int(np.rint(pair[0, 0, ANCHOR] + tables.ring_offsets[ring, 0]))
        x = int(np.rint(pair[0, 0, ANCHOR + 1] + tables.ring_offsets[ring, 1]))
        if place_seed(tables, size, angle, y, x, pair[1, 0]):
            return True
    return False


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


@compiled
def long_contours(
    state: State,
    tables: SearchTables,
    size: int,
    mask: Mask,
    weights: Weights,
    pair: Int64[np.ndarray, "2 n 7"],
) -> bool:
    """Draw both long contours and their mask; return False if an attempt fails."""
    if not first_segment(state, tables, size, mask, True, pair[0, 0]):
        return False
    if not second_seed(state, tables, size, pair):
        return False
    mask[:] = tables.empty
    for i in range(1, pair.shape[1]):
        for snake in pair:
            if not extend(state, tables, mask, weights, snake, i):
                return False
    occupy(tables, pair[1, -1], mask)  # the last segment of the first contour stays out, as in the benchmark
    return True


@compiled
def short_contour(
    state: State, tables: SearchTables, size: int, mask: Mask, weights: Weights, snake: Snake
) -> bool:
    """Draw a short contour and add it to the mask; return False if there is no room."""
    free = 0
    for value in mask:
        free += value <= FREE
    if free < FREE_SHARE * size * size or not first_segment(state, tables, size, mask, False, snake[0]):
        return False
    for i in range(1, len(snake)):
        if not extend(state, tables, mask, weights, snake, i):
            return False
    occupy(tables, snake[-1], mask)
    return True


@compiled
def draw_scene(
    state: State,
    tables: SearchTables,
    size: int,
    contour: int,
    count: int,
    short: int,
    label: int,
    limit: int,
    targets: Mask,
    distractors: Mask,
) -> tuple[int, int, int, int, int]:
    """Draw the lines of an image to two planes, and return the points of both markers and the number of starts."""
    pair = np.zeros((2, contour, FIELDS), np.int64)
    snake = np.zeros((short, FIELDS), np.int64)
    weights = np.zeros(len(tables.candidates))
    mask, trial = tables.empty.copy(), tables.empty.copy()
    starts = 1
    while not long_contours(state, tables, size, mask, weights, pair):
        starts += 1
        if starts > limit:
            return 0, 0, 0, 0, starts
    draw_lines(tables, pair[0], targets)
    draw_lines(tables, pair[1], targets)
    for _ in range(count):
        for _ in range(DISTRACTOR_TRIES):
            trial[:] = mask
            if short_contour(state, tables, size, trial, weights, snake):
                mask[:] = trial
                draw_lines(tables, snake, distractors)
                break
    first = below(state, 2)
    origin, tip = pair[first, 0], pair[first if label == 1 else 1 - first, -1]
    return origin[ANCHOR], origin[ANCHOR + 1], tip[HEAD], tip[HEAD + 1], starts
