"""Scenes of the toy world: coloured shapes, at most one in each cell of a grid; and their pictures.

A cell is one patch of the vision tower, so each thing is seen by one image token.

n scenes
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from pid.llava.preprocessing.images import DEVIATION, MEAN
from pid.toyworld.vocabulary import COLORS, SHAPES, SIDE, UNASKED

PATCH = 8
"""Pixels along the side of a cell."""
RGB = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 40),
    "grey": (128, 128, 128),
}
TEST_SHARE = 10  # one scene in so many belongs to the test split


class Thing(NamedTuple):
    """A coloured shape in a cell."""

    cell: int
    """Row by row from the top left, see `CELLS`."""
    shape: str
    color: str

    @property
    def row(self) -> int:
        """From the top, 0 … 3."""
        return self.cell // SIDE

    @property
    def column(self) -> int:
        """From the left, 0 … 3."""
        return self.cell % SIDE

    @property
    def side(self) -> str:
        """The half of the picture: left or right."""
        return "left" if self.column < SIDE // 2 else "right"


Scene = tuple[Thing, ...]
"""The things of a scene, ordered by cell."""

LOOKS = [(shape, color) for shape in SHAPES for color in (*COLORS, UNASKED)]
_LOOK = {look: index for index, look in enumerate(LOOKS, start=1)}


def scene_of(cells: Iterable[int], shapes: Iterable[str], colors: Iterable[str]) -> Scene:
    """The scene with a thing in each of the cells."""
    return tuple(sorted(map(Thing, cells, shapes, colors)))


def relations(thing: Thing, other: Thing) -> list[str]:
    """Where `thing` is as seen from the other: left or right if the columns differ, above or below if the rows do."""
    found = []
    if thing.column != other.column:
        found.append("left" if thing.column < other.column else "right")
    if thing.row != other.row:
        found.append("above" if thing.row < other.row else "below")
    return found


def is_test(scene: Scene) -> bool:
    """Whether a scene belongs to the test split: it is a hash of the scene, so no scene is in both."""
    return zlib.crc32(codes([scene]).tobytes()) % TEST_SHARE == 0


def codes(scenes: Sequence[Scene]) -> UInt8[np.ndarray, "n cells"]:
    """What is in each cell (n, 16): 0 for nothing, else 1 + the number of the look."""
    grid = np.zeros((len(scenes), SIDE**2), np.uint8)
    for row, scene in zip(grid, scenes, strict=True):
        for thing in scene:
            row[thing.cell] = _LOOK[thing.shape, thing.color]
    return grid


def _mask(shape: str) -> np.ndarray:
    """Which pixels of a cell a shape covers, (8, 8) bool."""
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
    + [(_mask(shape)[..., None] * np.array(RGB[color])).astype(np.uint8) for shape, color in LOOKS]
)
"""The picture of each code (21, 8, 8, 3), on black."""


def render(scenes: Sequence[Scene]) -> UInt8[np.ndarray, "n y x colours"]:
    """The pictures, uint8 (n, 32, 32, 3)."""
    cells = STAMPS[codes(scenes)].reshape(-1, SIDE, SIDE, PATCH, PATCH, 3)
    return cells.swapaxes(2, 3).reshape(-1, SIDE * PATCH, SIDE * PATCH, 3)


def normalise(pictures: UInt8[np.ndarray, "n y x colours"]) -> Float32[np.ndarray, "n colours y x"]:
    """(x/255 - mean) / deviation of CLIP, colours first: what the image processor makes of the pictures."""
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    table = ((levels - MEAN) / DEVIATION).astype(np.float32)  # (256, 3): every value there is
    return np.stack([table[pictures[..., colour], colour] for colour in range(3)], axis=1)
