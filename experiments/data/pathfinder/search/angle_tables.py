"""The search tables of one angle as arrays of their own, for the search in NumPy.

c candidates with a weight, D pixels of a disc, n and m pixels of a stamp
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from experiments.data.pathfinder.search.search_tables import search_tables


class AngleTable(NamedTuple):
    """The tables of one angle."""

    step: tuple[float, float]
    """From the pivot of a segment to that of the next."""
    front: Int64[np.ndarray, " c"]
    """Candidates with a weight."""
    turns: Float64[np.ndarray, " c"]
    """Their weights."""
    discs: Int64[np.ndarray, "c D"]
    """From the pivot to the pixels around their heads."""
    solid_offsets: Int32[np.ndarray, " n"]
    """Pixels of the stamp that can collide."""
    solid_limits: UInt8[np.ndarray, " n"]
    """The smallest mask value that collides with them."""
    area_offsets: Int32[np.ndarray, " m"]
    """Pixels of the area that a segment keeps free."""
    area_values: UInt8[np.ndarray, " m"]
    """Their mask values."""


@functools.cache
def angle_tables(size: int, margin: int) -> list[AngleTable]:
    """Return the tables of every angle, with the candidates that have a weight."""
    t = search_tables(size, margin)
    fronts = [np.flatnonzero(turns) for turns in t.turns]
    solid = [slice(*pair) for pair in zip(t.solid_starts, t.solid_starts[1:], strict=False)]
    area = [slice(*pair) for pair in zip(t.area_starts, t.area_starts[1:], strict=False)]
    return [
        AngleTable(
            tuple(t.step_offsets[a].tolist()),
            front,
            t.turns[a][front],
            t.candidate_discs[front],
            t.solid_offsets[solid[a]],
            t.solid_limits[solid[a]],
            t.area_offsets[area[a]],
            t.area_values[area[a]],
        )
        for a, front in enumerate(fronts)
    ]
