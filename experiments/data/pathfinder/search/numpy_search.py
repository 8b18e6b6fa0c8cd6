"""The search for the contours of an image in NumPy: it draws what the compiled search draws, but more slowly."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from experiments.data.pathfinder.search.angle_tables import angle_tables
from experiments.data.pathfinder.search.contour_scene import (
    DISTRACTOR_TRIES,
    FREE_SHARE,
    MAX_STARTS,
    SMALLEST_WEIGHT,
    TRIES,
    Point,
    Scene,
    no_room,
)
from experiments.data.pathfinder.search.search_tables import DEGREES, FREE_LEVEL, search_tables
from experiments.data.pathfinder.search.word_stream import Seed, WordStream
from experiments.data.pathfinder.window_sizes import WindowSize, distractor_counts


class Segment(NamedTuple):
    """A segment of a contour."""

    angle: int
    """Index of its angle."""
    pivot: Point
    """Point from which the next pivot is reached."""
    head: Point
    """Its end; the start of the next segment is near it."""
    anchor: Point
    """Where its stamps are placed: the tail of a first segment, the head of another."""


Contour = list[Segment]


class NumpySearch:
    """Scenes of one stream of random numbers, in NumPy.

    Args:
        seed: seed of the stream, as for `RandomState`.
    """

    def __init__(self, seed: Seed):
        """Start the stream."""
        self._words = WordStream(seed)
        self.below = self._words.below

    def scene(self, window: WindowSize, contour: int, margin: int, *, label: int) -> Scene:
        """Draw the contours of an image.

        Args:
            window: parameters of the image size.
            contour: segments of a long contour.
            margin: gap between two segments.
            label: 1 if both markers lie on the same long contour.

        Raises:
            ValueError: the contours are too long for the image.
        """
        draw = _Drawing(self._words, window, margin)
        while (pair := draw.pair(contour)) is None:
            if draw.starts >= MAX_STARTS:
                raise no_room(window.size, contour)
        distractors = draw.distractors(*distractor_counts(window, contour))
        first = self.below(2)
        return Scene(
            draw.lines(pair[0] + pair[1]),
            draw.lines([segment for short in distractors for segment in short]),
            pair[first][0].anchor,
            pair[first if label else 1 - first][-1].head,
            draw.starts,
        )


_WEIGHT = 1 - np.arange(256) / 255  # of a candidate, given the largest mask value near it


class _Drawing:
    """The mask of an image, and all that is drawn on it."""

    def __init__(self, words: WordStream, window: WindowSize, margin: int):
        self._words, self._window = words, window
        self._tables = search_tables(window.size, margin)
        self._angles = angle_tables(window.size, margin)
        self._candidates: list[Point] = [(int(y), int(x)) for y, x in self._tables.candidates]
        self.mask = self._tables.empty.copy()
        self.starts = 0

    def pair(self, contour: int) -> tuple[Contour, Contour] | None:
        """Draw two long contours and their mask. Return None if the attempt fails."""
        self.starts += 1
        first = self._first_segment(is_empty=True)
        second = first and self._second_seed(first.anchor)
        if not first or not second:
            return None
        self.mask = self._tables.empty.copy()
        pair = [first], [second]
        for _ in range(contour - 1):
            for snake in pair:
                if not self._extend(snake):
                    return None
        self._occupy(pair[1][-1])  # the last segment of the first contour stays out, as in the benchmark
        return pair

    def distractors(self, count: int, segments: int) -> list[Contour]:
        """Draw short contours around those on the mask; one without room is left out."""
        contours = []
        for _ in range(count):
            before = self.mask
            for _ in range(DISTRACTOR_TRIES):
                self.mask = before.copy()
                if short := self._distractor(segments):
                    contours.append(short)
                    break
            else:
                self.mask = before
        return contours

    def lines(self, segments: Contour) -> UInt8[np.ndarray, " F*F"]:
        """Return the picture of segments."""
        t, plane = self._tables, np.zeros_like(self._tables.empty)
        for segment in segments:
            part = slice(t.line_starts[segment.angle], t.line_starts[segment.angle + 1])
            places = t.line_offsets[part] + self._place(segment.anchor)
            plane[places] = np.maximum(plane[places], t.line_values[part])
        return plane

    def _distractor(self, segments: int) -> Contour | None:
        if np.count_nonzero(self.mask <= FREE_LEVEL) < FREE_SHARE * self._window.size**2:
            return None
        first = self._first_segment(is_empty=False)
        if not first:
            return None
        short = [first]
        if not all(self._extend(short) for _ in range(segments - 1)):
            return None
        self._occupy(short[-1])
        return short

    def _first_segment(self, *, is_empty: bool) -> Segment | None:
        """Draw the first segment of a contour, on the mask or on one without segments."""
        for _ in range(TRIES):
            angle = self._words.below(DEGREES)
            points = self._points_of_empty_mask(angle) if is_empty else self._free_points(angle)
            if not len(points):
                return None
            tail = divmod(int(points[self._words.below(len(points))]), self._window.size)
            if segment := self._seed(tail, angle):
                return segment
        return None

    def _second_seed(self, tail: Point) -> Segment | None:
        for _ in range(TRIES):
            angle = self._words.below(DEGREES)
            dy, dx = self._tables.ring_offsets[self._words.below(DEGREES)].tolist()
            if segment := self._seed((round(tail[0] + dy), round(tail[1] + dx)), angle):
                return segment
        return None

    def _seed(self, tail: Point, angle: int) -> Segment | None:
        """Return the first segment at a tail, or None if it leaves the image."""
        head = _ceil(tail, self._tables.head_offsets[angle].tolist())
        pivot = _ceil(head, self._tables.pivot_offsets[angle].tolist())
        if min(*head, *pivot) < 0 or max(*head, *pivot) >= self._window.size:
            return None
        return Segment(angle, pivot, head, tail)

    def _points_of_empty_mask(self, angle: int) -> Int32[np.ndarray, " n"]:
        t = self._tables
        return t.free_points[t.free_starts[angle] : t.free_starts[angle + 1]]

    def _free_points(self, angle: int) -> Int64[np.ndarray, " n"]:
        t = self._tables
        offsets = t.window_offsets[t.window_starts[angle] : t.window_starts[angle + 1]]
        if not len(offsets):
            return offsets
        barrier = (self.mask > FREE_LEVEL) & (t.inside > 0)
        low, high = t.frame * t.side, (t.frame + self._window.size) * t.side
        blocked = np.zeros(high - low, bool)
        for offset in offsets.tolist():
            blocked |= barrier[low + offset : high + offset]
        return np.flatnonzero(~blocked.reshape(-1, t.side)[:, t.frame : -t.frame])

    def _extend(self, snake: Contour) -> bool:
        """Add a segment to a contour, and the one before it to the mask; return False if there is no room."""
        last = snake[-1]
        angle = self._angles[last.angle]
        pivot = _ceil(last.pivot, angle.step)
        weights = _WEIGHT[self.mask[angle.discs + self._place(pivot)].max(1)] * angle.turns
        total = weights.cumsum()[-1]  # in the order of the compiled search
        if total < SMALLEST_WEIGHT:
            return False
        cumulative = (weights / total).cumsum()
        for _ in range(TRIES):
            place = int(cumulative.searchsorted(self._words.uniform(), "right"))
            choice = int(angle.front[min(place, len(weights) - 1)])
            dy, dx = self._candidates[choice]
            head = (pivot[0] + dy, pivot[1] + dx)
            if not self._collides(head, DEGREES + choice):
                self._occupy(last)
                snake.append(Segment(DEGREES + choice, pivot, head, head))
                return True
        return False

    def _collides(self, anchor: Point, angle: int) -> bool:
        table = self._angles[angle]
        places = table.solid_offsets + self._place(anchor)
        hits = self.mask[places] >= table.solid_limits
        return bool(hits.any()) and bool((hits & (self._tables.inside[places] > 0)).any())

    def _occupy(self, segment: Segment) -> None:
        table = self._angles[segment.angle]
        places = table.area_offsets + self._place(segment.anchor)
        self.mask[places] = np.maximum(self.mask[places], table.area_values)

    def _place(self, point: Point) -> int:
        t = self._tables
        return (point[0] + t.frame) * t.side + point[1] + t.frame


def _ceil(point: Point, offset: tuple[float, float] | list[float]) -> Point:
    return math.ceil(point[0] + offset[0]), math.ceil(point[1] + offset[1])
