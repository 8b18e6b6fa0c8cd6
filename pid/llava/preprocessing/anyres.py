"""LLaVA-1.6's images of any resolution, as a map of rows.

An image is seen as one squashed base tile and a grid of tiles of the enlarged, padded image. The tokens are the P
patches of the base tile, then the patches of the grid read row by row as one picture, the padding cut away and a
newline vector after each row: P + rows·(columns + 1) of them. Computed here, on the host, is only where each token
is to be found.

This follows Hugging Face, which works in (height, width); the original code works in (width, height), breaks ties
the other way and rounds differently, so that small images may get another number of tokens there.

P patches of a tile, S² = P
"""

from collections.abc import Sequence

import numpy as np

NEWLINE = -1

Size = tuple[int, int]


def best_resolution(size: Size, pinpoints: Sequence[Size]) -> Size:
    """Of the resolutions on offer the one that keeps most pixels of the image, then the one that wastes fewest.

    Kept: min(pixels of the image after scaling it to fit, its own pixels). Wasted: pixels on offer but not kept.
    All sizes are (height, width).
    """
    height, width = size

    def merit(offer: Size) -> tuple[int, int]:
        scale = min(offer[1] / width, offer[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - offer[0] * offer[1]

    return max(pinpoints, key=merit)


def unpadded(size: Size, grid: Size) -> tuple[slice, slice]:
    """The rows and columns of a `grid` that an image of `size` covers once it is scaled to fit and centred."""
    (height, width), (rows, columns) = size, grid
    if width / height > columns / rows:
        margin = (rows - int(round(height * (columns / width), 7))) // 2
        return slice(margin, rows - margin), slice(0, columns)
    margin = (columns - int(round(width * (rows / height), 7))) // 2
    return slice(0, rows), slice(margin, columns - margin)


def tile_grid(size: Size, pinpoints: Sequence[Size], tile: int) -> Size:
    """How many tiles of `tile` pixels an image gets down and across, the base tile not counted."""
    height, width = best_resolution(size, pinpoints)
    return height // tile, width // tile


def anyres_rows(size: Size, pinpoints: Sequence[Size], *, tile: int, side: int) -> np.ndarray:
    """For each token of an image its row among the patches of all tiles (tile·P + patch), or `NEWLINE`; int32.

    size: (height, width) of the image; tile: pixels along the side of a tile; side: patches along it.

    Raises ValueError for an image without pixels.
    """
    if min(size) < 1:
        raise ValueError(f"an image has at least one pixel each way, got (height, width) = {size}.")
    down, across = tile_grid(size, pinpoints, tile)
    patches = np.arange((1 + down * across) * side**2, dtype=np.int32)
    base, rest = patches[: side**2], patches[side**2 :]
    picture = rest.reshape(down, across, side, side).swapaxes(1, 2).reshape(down * side, across * side)
    picture = picture[unpadded(size, picture.shape)]
    lines = np.pad(picture, ((0, 0), (0, 1)), constant_values=NEWLINE)
    return np.concatenate([base, lines.ravel()])
