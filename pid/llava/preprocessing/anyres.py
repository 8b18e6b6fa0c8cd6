"""LLaVA-1.6 images of any resolution: from which patch each image token comes.

An image is encoded as one base tile, which is the image resized to a square, and a grid of tiles of the enlarged,
padded image. The tokens are the P patches of the base tile, then the patches of the grid read row by row as one
picture, with the padding removed and a newline vector after each row: P + rows·(columns + 1) tokens. This file
computes, on the host, only the row of the feature table that each token takes.

It follows Hugging Face, which works in (height, width). The original code works in (width, height), breaks ties the
other way and rounds differently, so it may give small images another number of tokens.

P patches of a tile, S² = P
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

NEWLINE = -1

ImageSize = tuple[int, int]
"""(height, width)"""


def best_resolution(size: ImageSize, pinpoints: Sequence[ImageSize]) -> ImageSize:
    """The resolution of `pinpoints` that preserves most pixels of the image and, among equals, wastes fewest.

    Preserved: min(pixels of the image after scaling it to fit, its own pixels). Wasted: pixels of the resolution that
    are not preserved ones. All sizes are (height, width).
    """
    height, width = size

    def score(resolution: ImageSize) -> tuple[int, int]:
        scale = min(resolution[1] / width, resolution[0] / height)
        preserved_pixels = min(int(width * scale) * int(height * scale), width * height)
        return preserved_pixels, preserved_pixels - resolution[0] * resolution[1]

    return max(pinpoints, key=score)


def content_region(size: ImageSize, grid: ImageSize) -> tuple[slice, slice]:
    """The rows and columns of a `grid` that an image of `size` covers, scaled to fit and centered."""
    (height, width), (rows, columns) = size, grid
    if width / height > columns / rows:
        margin = (rows - int(round(height * (columns / width), 7))) // 2
        return slice(margin, rows - margin), slice(0, columns)
    margin = (columns - int(round(width * (rows / height), 7))) // 2
    return slice(0, rows), slice(margin, columns - margin)


def tile_grid(size: ImageSize, pinpoints: Sequence[ImageSize], tile: int) -> ImageSize:
    """The number of tiles of `tile` pixels, down and across, that an image gets besides the base tile."""
    height, width = best_resolution(size, pinpoints)
    return height // tile, width // tile


def anyres_rows(
    size: ImageSize, pinpoints: Sequence[ImageSize], *, tile: int, side: int
) -> Int[np.ndarray, "t"]:
    """For each token of an image, its row in the table of patches of all tiles.

    Args:
        size: (height, width) of the image in pixels.
        pinpoints: the resolutions (height, width) to which an image may be scaled.
        tile: pixels along the side of a tile.
        side: patches along the side of a tile.

    Returns:
        int32 (tokens,): tile·side² + patch, or -1 for the newline vector.

    Raises:
        ValueError: the image has no pixels, there are no pinpoints, or one is not of whole tiles.

    Example:
        >>> from pid import llava
        >>> llava.anyres_rows((40, 20), [(4, 2)], tile=2, side=2).tolist()      # 1 + 2 tiles of 2 × 2 patches
        [0, 1, 2, 3, 4, 5, -1, 6, 7, -1, 8, 9, -1, 10, 11, -1]

    Reference:
        Liu et al. 2024, LLaVA-NeXT; `LlavaNextModel.pack_image_features` of transformers.
    """
    pairs = (("size", size), *(("pinpoint", pinpoint) for pinpoint in pinpoints))
    for name, pair in pairs:
        if np.shape(pair) != (2,) or not np.issubdtype(np.asarray(pair).dtype, np.integer):
            raise ValueError(f"a {name} is two whole numbers (height, width), got {pair!r}; pass pixels.")
    if min(tile, side) < 1:
        raise ValueError(
            f"a tile has pixels and patches, got tile={tile} and side={side}; pass those of the model."
        )
    if partial := [
        pinpoint for pinpoint in pinpoints if min(pinpoint) < 1 or np.any(np.asarray(pinpoint) % tile)
    ]:
        raise ValueError(
            f"a pinpoint is a resolution of whole tiles of {tile} pixels, got {tuple(partial[0])}; take "
            f"config.pinpoints and config.vision.image_size of one model."
        )
    if min(size) < 1:
        raise ValueError(f"an image has at least one pixel each way, got (height, width) = {size}.")
    if not len(pinpoints):
        raise ValueError(
            "an image is scaled to one of several resolutions, got no pinpoints; pass at least one."
        )
    down, across = tile_grid(size, pinpoints, tile)
    patches = np.arange((1 + down * across) * side**2, dtype=np.int32)
    base, grid = patches[: side**2], patches[side**2 :]
    picture = grid.reshape(down, across, side, side).swapaxes(1, 2).reshape(down * side, across * side)
    picture = picture[content_region(size, picture.shape)]
    lines = np.pad(picture, ((0, 0), (0, 1)), constant_values=NEWLINE)
    return np.concatenate([base, lines.ravel()])
