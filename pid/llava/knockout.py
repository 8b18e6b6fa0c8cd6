"""Attention knockouts: in some layers, tokens of one type do not attend to tokens of another.

Which edges are cut is a table block[l, b, x, y]: in layer l of sample b, queries of type x see no key of type y.
The table is data: another window or another pair of types runs the same compiled program.

B samples, L layers, Y token types
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pid.llava.tokens import TokenType

TYPES = 8  # the table's size unless larger types are cut, so that few knockouts mean few shapes


@dataclass(frozen=True)
class Knockout:
    """No attention from tokens of type `target` to tokens of type `source` in `layers`.

    Raises:
        ValueError: layers that are neither numbers from 0 nor "all", or PAD as one of the two.
    """

    layers: Iterable[int] | str
    """Layers, counted from 0, or "all"."""
    target: int = TokenType.QUESTION
    """The type of the queries."""
    source: int = TokenType.IMAGE
    """The type of the keys that they no longer see."""

    def __post_init__(self):
        if isinstance(self.layers, str):
            if self.layers != "all":
                raise ValueError(
                    f"layers are numbers or 'all', got {self.layers!r}; pass a tuple of numbers."
                )
        else:
            layers = tuple(int(layer) for layer in self.layers)
            object.__setattr__(self, "layers", layers)
            if min(layers, default=0) < 0:
                raise ValueError(f"layers are counted from 0, got {layers}; leave out the negative ones.")
        for name in ("target", "source"):
            if getattr(self, name) <= TokenType.PAD:
                raise ValueError(
                    f"the {name} of a knockout is a type above PAD=0, got {getattr(self, name)}; padding is "
                    f"never attended to anyway."
                )


def windows(layers: int, width: int = 9) -> tuple[tuple[int, ...], ...]:
    """For each layer l the window of `width` layers about it, cut off at the first and the last layer.

    max(0, l - ⌊width/2⌋) … min(layers, l + ⌈width/2⌉) - 1. [Zhang et al. 2025, with width 9]
    Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"a window has at least one layer, got width={width}; choose a positive width.")
    below, above = width // 2, -(-width // 2)
    return tuple(tuple(range(max(0, at - below), min(layers, at + above))) for at in range(layers))


def knockout_mask(knockouts: Iterable[Knockout], layers: int) -> np.ndarray:
    """The edges that `knockouts` cut: bool (L, 1, Y, Y), the same for every sample.

    Y is 8, or one more than the largest type named. Raises ValueError for a layer that the model lacks.
    """
    knockouts = tuple(knockouts)
    size = max((TYPES, *(1 + max(cut.target, cut.source) for cut in knockouts)))
    table = np.zeros((layers, 1, size, size), bool)
    for cut in knockouts:
        chosen = [int(at) for at in (range(layers) if cut.layers == "all" else cut.layers)]
        if beyond := [layer for layer in chosen if layer >= layers]:
            raise ValueError(f"the model has layers 0 … {layers - 1}, got {beyond} in a knockout; drop them.")
        table[chosen, 0, cut.target, cut.source] = True
    return table
