"""All numbers that the search for contours needs, computed once for an image size and a margin.

An angle has an index: 0 to 359 are the first segments of a contour, -180 to 179 degrees; 360 and up are the
directions of the other segments, one for each candidate of `candidates`. A mask is a flat uint8 array of an image
with a frame, whose pixels are always 255; so no point needs a test whether it lies in the image. A mask value v
means v / 255.

A angles, C candidates, D pixels of a disc, F side of an image with its frame, s side of a stamp
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from experiments.data.pathfinder.segment_stamps import direction, disc, flip, segment_stamps, stamp_radius
from experiments.data.pathfinder.window_sizes import SIZES, WindowSize

DEGREES = 360
FREE_LEVEL = 76  # the largest mask value of a free pixel: 0.3 · 255
COLLISION = 459  # a segment is rejected where its area and the mask have this sum or more: 1.8 · 255


class SearchTables(NamedTuple):
    """Tables of one image size and one margin. Ragged lists are flat; list i is values[starts[i] : starts[i + 1]]."""

    frame: int
    """Width of the frame."""
    side: int
    """Height and width of an image with its frame."""
    empty: UInt8[np.ndarray, " F*F"]
    """The mask without segments: the border and the frame."""
    inside: UInt8[np.ndarray, " F*F"]
    """1 in the image, 0 in the frame."""
    free_starts: Int64[np.ndarray, " 361"]
    """Free pixels of the empty mask for each angle of a first segment."""
    free_points: Int32[np.ndarray, " n"]
    """Their coordinates y · size + x."""
    window_starts: Int64[np.ndarray, " 361"]
    """Pixels that must be free for each angle of a first segment; no pixel if the angle is never possible."""
    window_offsets: Int32[np.ndarray, " n"]
    """Their offsets in the mask."""
    head_offsets: Float64[np.ndarray, "360 2"]
    """From the tail of a first segment to its head."""
    pivot_offsets: Float64[np.ndarray, "360 2"]
    """From the head of a first segment to its pivot."""
    ring_offsets: Float64[np.ndarray, "360 2"]
    """From the tail of the first contour to that of the second."""
    step_offsets: Float64[np.ndarray, "A 2"]
    """From the pivot of a segment to that of the next."""
    candidates: Int64[np.ndarray, "C 2"]
    """From the pivot of a segment to its head."""
    candidate_discs: Int64[np.ndarray, "C D"]
    """From the pivot to the pixels around the head, as offsets in the mask."""
    turns: Float64[np.ndarray, "A C"]
    """Weight of a candidate after a segment of angle A."""
    solid_starts: Int64[np.ndarray, " A+1"]
    """Pixels of a stamp that can collide."""
    solid_offsets: Int32[np.ndarray, " n"]
    """Their offsets in the mask."""
    solid_limits: UInt8[np.ndarray, " n"]
    """The smallest mask value that collides with them."""
    area_starts: Int64[np.ndarray, " A+1"]
    """Pixels of the area that a segment keeps free."""
    area_offsets: Int32[np.ndarray, " n"]
    """Their offsets in the mask."""
    area_values: UInt8[np.ndarray, " n"]
    """Their mask values."""
    line_starts: Int64[np.ndarray, " A+1"]
    """Pixels of the line that draws a segment."""
    line_offsets: Int32[np.ndarray, " n"]
    """Their offsets in the mask."""
    line_values: UInt8[np.ndarray, " n"]
    """Their brightness."""


@functools.cache
def search_tables(size: int, margin: int) -> SearchTables:
    """Return the tables of an image size and a margin."""
    window = SIZES[size]
    length, reach = window.length, window.length + margin
    frame = 3 * length + 5 * margin + 2 + stamp_radius(length, window.thickness, margin)
    side = size + 2 * frame
    candidates = _candidates(reach)
    seeds = [degrees * math.pi / 180 for degrees in range(-DEGREES // 2, DEGREES // 2)]
    turns = [math.atan2(y, x) for y, x in candidates.tolist()]
    angles = [*seeds, *turns]
    stamp_angles = [*seeds, *map(flip, turns)]
    pairs = [
        segment_stamps(a, length=length, thickness=window.thickness, margin=margin) for a in stamp_angles
    ]
    lines, areas = (np.stack(stamps) for stamps in zip(*pairs, strict=True))
    windows = [_seed_window(area, reach) for area in areas[:DEGREES]]
    line_starts, line_offsets, line_values = _sparse(lines, side, 1)
    area_starts, area_offsets, area_values = _sparse(areas, side, 1)
    solid_starts, solid_offsets, solid_values = _sparse(areas, side, COLLISION - 255)
    window_starts, window_offsets = _ragged([_flat(offsets, side) for offsets in windows])
    free_starts, free_points = _ragged([_free_points(window, offsets) for offsets in windows])
    inside = np.pad(np.ones((size, size), np.uint8), frame)
    unit = np.stack([direction(angle) for angle in angles])
    ring = np.stack([direction(degrees * math.pi / 180) for degrees in range(DEGREES)])
    backward = np.stack([direction(flip(angle)) for angle in seeds])
    return SearchTables(
        frame=frame,
        side=side,
        empty=np.where(_border(size, window.padding, frame), 255, 0).astype(np.uint8).ravel(),
        inside=inside.ravel(),
        free_starts=free_starts,
        free_points=free_points,
        window_starts=window_starts,
        window_offsets=window_offsets,
        head_offsets=length * unit[:DEGREES],
        pivot_offsets=reach * backward,
        ring_offsets=window.seed_distance * ring,
        step_offsets=(length + 2 * margin) * unit,
        candidates=candidates,
        candidate_discs=_flat(candidates, side)[:, None] + _flat(disc(margin), side)[None],
        turns=_turns(np.array(angles), window.continuity),
        solid_starts=solid_starts,
        solid_offsets=solid_offsets,
        solid_limits=(COLLISION - solid_values.astype(int)).astype(np.uint8),
        area_starts=area_starts,
        area_offsets=area_offsets,
        area_values=area_values,
        line_starts=line_starts,
        line_offsets=line_offsets,
        line_values=line_values,
    )


def _flat(offsets: Int64[np.ndarray, "*n 2"], side: int) -> Int64[np.ndarray, "*n"]:
    return offsets[..., 0] * side + offsets[..., 1]


def _candidates(radius: int) -> Int64[np.ndarray, "C 2"]:
    """Return the different offsets floor(radius · direction) in steps of one pixel of arc."""
    degrees = np.arange(0, 360, 360 / (2 * np.pi * radius)).tolist()
    points = [np.floor(radius * direction(angle * math.pi / 180)) for angle in degrees]
    return np.unique(np.stack(points).astype(np.int64), axis=0)


def _turns(angles: Float64[np.ndarray, " A"], continuity: float) -> Float64[np.ndarray, "A C"]:
    """Return cos² of the angle between two segments times the continuity, and 0 beyond a right angle."""
    difference = np.abs(angles[:, None] - angles[None, DEGREES:])
    distance = np.minimum(difference, 2 * np.pi - difference)
    scaled = continuity * distance
    return np.where(scaled < np.pi / 2, np.cos(scaled) ** 2, 0)


def _seed_window(area: UInt8[np.ndarray, "s s"], reach: int) -> Int64[np.ndarray, "n 2"]:
    """Return the offsets that the generator of the benchmark tests before it places a first segment.

    It dilates the mask by the area of the segment, one pixel off the center. Its dilation has no value where the
    area lies outside the image as a whole, and the generator takes this for a full mask: such an angle never occurs.
    """
    radius = len(area) // 2
    span = np.arange(-reach, reach + 1)
    rows, columns = np.nonzero(area[np.ix_(span - 1 + radius, span - 1 + radius)] == 255)
    offsets = np.stack([rows, columns], -1) - reach
    corners = [
        ((dy * offsets[:, 0] >= 0) & (dx * offsets[:, 1] >= 0)).any() for dy in (1, -1) for dx in (1, -1)
    ]
    return offsets if all(corners) else offsets[:0]


def _free_points(window: WindowSize, offsets: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
    """Return the pixels whose window is free of the border and the area near it."""
    if not len(offsets):
        return np.zeros(0, np.int64)
    margin, size = int(np.abs(offsets).max()), window.size
    border = max(window.padding, 2 * window.seed_distance)
    blocked = np.ones((size, size), bool)
    blocked[border:-border, border:-border] = False
    padded = np.pad(blocked, margin)
    shifts = [padded[margin + dy :, margin + dx :][:size, :size] for dy, dx in offsets]
    return np.flatnonzero(~np.any(shifts, axis=0))


def _border(size: int, padding: int, frame: int) -> Bool[np.ndarray, "F F"]:
    return np.pad(np.zeros((size - 2 * padding,) * 2, bool), frame + padding, constant_values=True)


def _sparse(stamps: UInt8[np.ndarray, "A s s"], side: int, least: int):
    """Return (starts, offsets, values) of the pixels with value `least` or more of every stamp."""
    radius = stamps.shape[-1] // 2
    angle, rows, columns = np.nonzero(stamps >= least)
    starts = np.searchsorted(angle, np.arange(len(stamps) + 1))
    offsets = (rows - radius) * side + columns - radius
    return starts, offsets.astype(np.int32), stamps[angle, rows, columns]


def _ragged(lists) -> tuple[Int64[np.ndarray, " n+1"], Int32[np.ndarray, " m"]]:
    starts = np.concatenate([[0], np.cumsum([len(values) for values in lists])])
    return starts, np.concatenate(lists).astype(np.int32)
