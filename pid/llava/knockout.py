"""Attention knockouts: in some layers, tokens of one type do not attend to tokens of another type.

The knockout mask m[l, b, x, y] is true if, in layer l of sample b, queries of type x may not attend to keys of type
y. The mask is data: another window or another pair of types runs the same compiled program.

B samples, L layers, Y token types
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from pid.llava.tokens import MAX_TYPE, TokenType

TYPES = 8  # smallest size of a mask, so that most knockouts give masks of one shape


def to_layers(layers: Any) -> tuple[int, ...]:
    """Layers as a tuple of numbers; one number is one layer.

    Raises:
        ValueError: they are not whole numbers.
    """
    try:
        if isinstance(layers, bytes | bytearray):
            raise TypeError("they are bytes")
        numbers: list[Any] = (
            list(layers) if isinstance(layers, Iterable) and getattr(layers, "ndim", 1) else [layers]
        )
        if any(isinstance(number, bool | np.bool_) for number in numbers):
            raise TypeError("they are truth values")
        return tuple(operator.index(number) for number in numbers)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"layers are numbers or 'all', got {layers!r}: {error}; pass a tuple of numbers."
        ) from error


def check_type(name: str, kind: Any) -> None:
    """Raise ValueError if the field `name` of a knockout is not a type of tokens above PAD."""
    if not isinstance(kind, int | np.integer) or isinstance(kind, bool):
        raise ValueError(f"the {name} of a knockout is a TokenType, got {kind!r}; pass one, or its number.")
    if kind <= TokenType.PAD:
        raise ValueError(
            f"the {name} of a knockout is a type above PAD=0, got {kind}; padding is never attended to anyway."
        )
    if kind > MAX_TYPE:
        raise ValueError(
            f"the {name} of a knockout is a type up to {MAX_TYPE}, got {kind}; number types from 5 on."
        )


@dataclass(frozen=True)
class Knockout:
    """Removes the attention from tokens of type `target` to tokens of type `source` in some layers.

    Raises:
        ValueError: layers are neither numbers from 0 nor "all", or one of the two types is PAD or no number.

    Example:
        >>> from pid.llava import Knockout, TokenType
        >>> Knockout((0, 1)).layers                                  # question tokens do not attend to the image
        (0, 1)
        >>> Knockout("all", target=TokenType.LAST, source=TokenType.IMAGE).layers
        'all'

    Reference:
        Geva et al. 2023, Dissecting recall of factual associations; Zhang et al. 2025, who apply it to LLaVA.
    """

    layers: Iterable[int] | int | str
    """Layers, counted from 0: several, one, or "all"."""
    target: int = TokenType.QUESTION
    """Token type of the queries."""
    source: int = TokenType.IMAGE
    """Token type of the keys that these queries cannot attend to."""

    def __post_init__(self) -> None:
        """Check the fields and turn `layers` into a tuple."""
        if isinstance(self.layers, str):
            if self.layers != "all":
                raise ValueError(
                    f"layers are numbers or 'all', got {self.layers!r}; pass a tuple of numbers."
                )
        else:
            layers = to_layers(self.layers)
            object.__setattr__(self, "layers", layers)
            if min(layers, default=0) < 0:
                raise ValueError(f"layers are counted from 0, got {layers}; leave out the negative ones.")
        for name in ("target", "source"):
            check_type(name, getattr(self, name))


def as_knockouts(knockouts: Any) -> tuple[Knockout, ...]:
    """A tuple of knockouts, given several or a single one.

    Raises:
        ValueError: one of them is not a `Knockout`.
    """
    several = (
        (knockouts,) if isinstance(knockouts, Knockout) or not isinstance(knockouts, Iterable) else knockouts
    )
    several = tuple(several)
    for knockout in several:
        if not isinstance(knockout, Knockout):
            raise ValueError(
                f"knockouts are a list of Knockout, got {knockout!r}; write Knockout(layers, target, source)."
            )
    return several


def windows(layers: int, width: int = 9) -> tuple[tuple[int, ...], ...]:
    """The window of `width` layers around each layer, truncated at the first and the last layer.

    The window of layer l is max(0, l - ⌊width/2⌋) … min(layers, l + ⌈width/2⌉) - 1.

    Args:
        layers: number of layers of the model.
        width: layers in a window, at least 1.

    Returns:
        One tuple of layers for each layer.

    Raises:
        ValueError: the width is below 1, or a number is not whole or negative.

    Example:
        >>> from pid import llava
        >>> llava.windows(4, width=3)
        ((0, 1), (0, 1, 2), (1, 2, 3), (2, 3))

    Reference:
        Zhang et al. 2025, Cross-modal information flow in multimodal large language models, with width 9.
    """
    if not isinstance(layers, int | np.integer) or not isinstance(width, int | np.integer) or layers < 0:
        raise ValueError(
            f"layers and width of windows are whole numbers, got layers={layers!r} and width={width!r}; round them."
        )
    if width < 1:
        raise ValueError(f"a window has at least one layer, got width={width}; choose a positive width.")
    below, above = width // 2, -(-width // 2)
    return tuple(tuple(range(max(0, layer - below), min(layers, layer + above))) for layer in range(layers))


def knockout_mask(knockouts: Iterable[Knockout] | Knockout, layers: int) -> Bool[np.ndarray, "l one y y"]:
    """The mask of the attention edges that `knockouts` remove, the same for every sample.

    Args:
        knockouts: any number of knockouts, or a single one.
        layers: number of layers L of the model.

    Returns:
        bool (L, 1, Y, Y): entry [l, 0, x, y] is true if queries of type x may not attend to keys of type y in layer
        l. Y is 8, or one more than the largest type that a knockout names.

    Raises:
        ValueError: a knockout names a layer that the model does not have, or `layers` is no number of layers.

    Example:
        >>> from pid.llava import Knockout, knockout_mask
        >>> mask = knockout_mask([Knockout((1, 2))], layers=4)
        >>> mask.shape, mask[:, 0, 3, 2].tolist()                    # QUESTION = 3, IMAGE = 2
        ((4, 1, 8, 8), [False, True, True, False])
    """
    if not isinstance(layers, int | np.integer) or isinstance(layers, bool) or layers < 0:
        raise ValueError(
            f"layers of a mask are the number of layers of the model, got {layers!r}; pass config.text.num_layers."
        )
    knockouts = as_knockouts(knockouts)
    size = max((TYPES, *(1 + max(knockout.target, knockout.source) for knockout in knockouts)))
    mask = np.zeros((layers, 1, size, size), bool)
    for knockout in knockouts:
        selected = list(range(layers) if knockout.layers == "all" else to_layers(knockout.layers))
        if invalid := [layer for layer in selected if layer >= layers]:
            raise ValueError(
                f"the model has layers 0 … {layers - 1}, got {invalid} in a knockout; drop them."
            )
        mask[selected, 0, knockout.target, knockout.source] = True
    return mask
