"""A prompt as the model reads it: one row of a batch, before padding.

T tokens, M tiles of the image
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Row(NamedTuple):
    """One prompt with its image, encoded and not padded."""

    name: str
    """What the row is called in a store; unique among the rows of one."""
    ids: Int[np.ndarray, "t"]
    """Token ids (T,), `<image>` expanded to one id per image feature."""
    types: Int[np.ndarray, "t"]
    """The `TokenType` of each token (T,)."""
    pixels: Float[np.ndarray, "m c y x"] | None
    """Tiles (M, 3, side, side), one in LLaVA-1.5; None for text alone."""
    image_size: tuple[int, int] | None
    """(height, width) of the image in pixels before any processing; LLaVA-1.6 lays its tokens out by it."""
