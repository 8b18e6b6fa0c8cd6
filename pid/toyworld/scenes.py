"""Scenes of the toy world: colored shapes, at most one in each cell of a grid, and their pictures.

A cell is one patch of the vision tower, so each thing covers one image token.

n scenes
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from pid.llava.preprocessing.images import DEVIATION, MEAN
from pid.toyworld.vocabulary import COLORS, NEUTRAL_COLOR, SHAPES, SIDE

PATCH = 8
"""Pixels along the side of a cell."""

RGB = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 40),
    "grey": (128, 128, 128),
}
TEST_SHARE = 10
"""One scene in ten belongs to the test split."""


class Thing(NamedTuple):
    """A colored shape in a cell.

    Example:
        >>> from pid import toyworld
        >>> thing = toyworld.Thing(cell=6, shape="ball", color="red")
        >>> thing.row, thing.column, thing.side
        (1, 2, 'right')
    """

    cell: int
    """Number of the cell, 0 … 15, row by row from the top left; `CELLS` has its name."""

    shape: str
    """One of `SHAPES`: ball, box, cross, ring."""

    color: str
    """One of `COLORS`: red, green, blue, yellow; or the neutral color."""

    @property
    def row(self) -> int:
        """Row from the top, 0 … 3."""
        return self.cell // SIDE

    @property
    def column(self) -> int:
        """Column from the left, 0 … 3."""
        return self.cell % SIDE

    @property
    def side(self) -> str:
        """Half of the picture that has the cell: left or right."""
        return "left" if self.column < SIDE // 2 else "right"


Scene = tuple[Thing, ...]
"""The things of a scene, ordered by cell."""

APPEARANCES = [(shape, color) for shape in SHAPES for color in (*COLORS, NEUTRAL_COLOR)]
"""Every (shape, color) that a thing can have."""
_CODES = {appearance: code for code, appearance in enumerate(APPEARANCES, start=1)}


def scene_of(cells: Iterable[int], shapes: Iterable[str], colors: Iterable[str]) -> Scene:
    """Make the scene with a thing in each of the cells."""
    return tuple(sorted(map(Thing, cells, shapes, colors)))


def relations(thing: Thing, other: Thing) -> list[str]:
    """List the relations of `thing` to `other`: left or right if columns differ, above or below if rows differ."""
    names = []
    if thing.column != other.column:
        names.append("left" if thing.column < other.column else "right")
    if thing.row != other.row:
        names.append("above" if thing.row < other.row else "below")
    return names


def is_test(scene: Scene) -> bool:
    """Return whether a scene belongs to the test split, by a hash of the scene, so no scene is in both splits."""
    return zlib.crc32(cell_codes([scene]).tobytes()) % TEST_SHARE == 0


def cell_codes(scenes: Sequence[Scene]) -> UInt8[np.ndarray, "n cells"]:
    """Return the code of each cell, (n, 16): 0 if it is empty, else 1 + the index of the thing's appearance."""
    grid = np.zeros((len(scenes), SIDE**2), np.uint8)
    for row, scene in zip(grid, scenes, strict=True):
        for thing in scene:
            row[thing.cell] = _CODES[thing.shape, thing.color]
    return grid


def _mask(shape: str) -> np.ndarray:
    """Return the mask of the pixels that a shape covers in its cell, bool (8, 8)."""
    y, x = np.mgrid[:PATCH, :PATCH] - (PATCH - 1) / 2
    radius = np.hypot(y, x)
    masks = {
        "ball": radius < 3.7,
        "box": np.maximum(abs(y), abs(x)) < 3,
        "cross": np.minimum(abs(y), abs(x)) < 1,
        "ring": (radius > 2) & (radius < 3.9),
    }
    return masks[shape]


STAMPS = np.stack(
    [np.zeros((PATCH, PATCH, 3), np.uint8)]
    + [(_mask(shape)[..., None] * np.array(RGB[color])).astype(np.uint8) for shape, color in APPEARANCES]
)
"""Picture of each code on black, (21, 8, 8, 3)."""


def render(scenes: Sequence[Scene]) -> UInt8[np.ndarray, "n y x colors"]:
    """Draw scenes as pictures.

    Args:
        scenes: n scenes.

    Returns:
        Pictures, uint8 (n, 32, 32, 3), 0 … 255.

    Example:
        >>> from pid import toyworld
        >>> toyworld.render([(toyworld.Thing(0, "box", "red"),)]).shape
        (1, 32, 32, 3)
    """
    cells = STAMPS[cell_codes(scenes)].reshape(-1, SIDE, SIDE, PATCH, PATCH, 3)
    return cells.swapaxes(2, 3).reshape(-1, SIDE * PATCH, SIDE * PATCH, 3)


def normalize(pictures: UInt8[np.ndarray, "n y x colors"]) -> Float32[np.ndarray, "n colors y x"]:
    """Compute (x/255 - mean) / deviation of CLIP with colors first, as the image processor does.

    Args:
        pictures: uint8 (n, y, x, 3).

    Returns:
        Pixels as the vision tower takes them, float32 (n, 3, y, x).

    Example:
        >>> from pid import toyworld
        >>> toyworld.normalize(toyworld.render([()])).shape
        (1, 3, 32, 32)
    """
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    table = ((levels - MEAN) / DEVIATION).astype(np.float32)  # (256, 3): the result for every level and color
    return np.stack([table[pictures[..., color], color] for color in range(3)], axis=1)
