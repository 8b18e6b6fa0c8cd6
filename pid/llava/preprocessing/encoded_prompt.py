"""One encoded prompt with its image: a row of a batch, before padding.

T tokens, M tiles of the image
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class EncodedPrompt(NamedTuple):
    """One prompt with its image, encoded and not padded.

    Example:
        >>> import numpy as np
        >>> from pid import llava
        >>> row = llava.EncodedPrompt("q1", np.array([5, 6, 7]), np.array([1, 3, 4]), None, None)
        >>> row.name, row.ids.shape
        ('q1', (3,))
    """

    name: str
    """The name of the prompt in a store, unique in that store."""
    ids: Int[np.ndarray, "t"]
    """Token ids (T,), with `<image>` expanded to one id per image feature."""
    types: Int[np.ndarray, "t"]
    """The `TokenType` of each token (T,)."""
    pixels: Float[np.ndarray, "m c y x"] | None
    """Tiles (M, 3, side, side), one in LLaVA-1.5. None for text alone."""
    image_size: tuple[int, int] | None
    """(height, width) of the image in pixels before any processing. It determines the image tokens of LLaVA-1.6."""
