"""Flags: plain sentences about an estimate, each with a weight and a kind."""

from collections.abc import Iterable
from typing import Literal, get_args

Weight = Literal["note", "doubt", "unusable"]
"""note: something the reader should know. doubt: a number may be wrong. unusable: a number is wrong."""


Verdict = Literal["sound", "doubtful", "not to be used"]


class Flag(str):
    """A plain sentence about an estimate, which says how much it weighs.

    A flag is a string. Its weight decides the verdict of the estimate, its kind is the heading of the page of the
    documentation that explains it.

    Raises:
        ValueError: an unknown weight.

    Example:
        >>> from pid.interface.flags import Flag
        >>> flag = Flag("x: 2 of 9 features are constant and were dropped.", "note", "constant features")
        >>> flag.weight, flag.kind, flag.startswith("x:")
        ('note', 'constant features', True)
    """

    weight: Weight
    kind: str

    def __new__(cls, sentence: str, weight: Weight = "doubt", kind: str = "other") -> "Flag":
        """Make a flag of a sentence."""
        if weight not in get_args(Weight):
            raise ValueError(f"weight must be one of {', '.join(get_args(Weight))}, got {weight!r}.")
        flag = super().__new__(cls, sentence)
        flag.weight, flag.kind = weight, kind
        return flag

    def of_layer(self, layer: int) -> "Flag":
        """Return the flag with "layer l: " before its sentence."""
        return Flag(f"layer {layer}: {self}", self.weight, self.kind)

    def without_layer(self, layer: int) -> "Flag":
        """Return the flag without the "layer l: " before its sentence."""
        return Flag(self.removeprefix(f"layer {layer}: "), self.weight, self.kind)

    def __reduce__(self) -> tuple:
        """Keep weight and kind in copies."""
        return Flag, (str(self), self.weight, self.kind)


def to_flags(sentences: Iterable[str]) -> list[Flag]:
    """Return sentences as flags; one without a weight is a doubt."""
    return [flag if isinstance(flag, Flag) else Flag(flag) for flag in sentences]


def by_weight(flags: Iterable[str]) -> list[Flag]:
    """Return the flags with the heaviest first."""
    order = get_args(Weight)[::-1]
    return sorted(to_flags(flags), key=lambda flag: order.index(flag.weight))


def verdict(flags: Iterable[str]) -> Verdict:
    """Return "not to be used" if a flag makes a number wrong, "doubtful" if one may do so, else "sound"."""
    weights = {flag.weight for flag in by_weight(flags)}
    return "not to be used" if "unusable" in weights else "doubtful" if "doubt" in weights else "sound"
