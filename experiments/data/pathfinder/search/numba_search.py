"""The search for the contours of an image, compiled by numba: the same words, the same contours.

n segments of a contour
"""

import numpy as np
from jaxtyping import Int64

from experiments.data.pathfinder.search.contour_scene import (
    DISTRACTOR_TRIES,
    FREE_SHARE,
    MAX_STARTS,
    TRIES,
    Scene,
    no_room,
)
from experiments.data.pathfinder.search.numba_segments import (
    ANCHOR,
    FIELDS,
    HEAD,
    Mask,
    Segment,
    Snake,
    Weights,
    draw_lines,
    extend,
    free_points,
    occupy,
    place_seed,
)
from experiments.data.pathfinder.search.search_tables import DEGREES, FREE_LEVEL, SearchTables, search_tables
from experiments.data.pathfinder.search.twister import State, below, compiled, initial_state
from experiments.data.pathfinder.search.word_stream import Seed
from experiments.data.pathfinder.window_sizes import WindowSize, distractor_counts


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
def first_segment(
    state: State,
    tables: SearchTables,
    size: int,
    mask: Mask,
    segment: Segment,
) -> bool:
    """Draw the first segment of a contour; an empty array is the mask without segments. Return False without room."""
    for _ in range(TRIES):
        angle = below(state, DEGREES)
        if len(mask) == 0:
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
def long_contours(
    state: State,
    tables: SearchTables,
    size: int,
    mask: Mask,
    weights: Weights,
    pair: Int64[np.ndarray, "2 n 7"],
) -> bool:
    """Draw both long contours and their mask; return False if an attempt fails."""
    if not first_segment(state, tables, size, mask[:0], pair[0, 0]):
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
        free += value <= FREE_LEVEL
    if free < FREE_SHARE * size * size or not first_segment(state, tables, size, mask, snake[0]):
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
