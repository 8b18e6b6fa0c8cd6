"""Ranges of numeric options, as annotations of their fields: `draws: Count = 200`, `level: Level = 0.9`."""

import math
import struct
from dataclasses import dataclass
from typing import Annotated

MAX_INT = 2**31 - 1
"""Largest whole number of an option: the programs compute with int32."""

FLOAT32_MIN, FLOAT32_MAX = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Smallest and largest size of a number in the type in which the programs compute."""


def is_float32(number: float | int) -> bool:
    """Return whether float32 has a number, up to rounding: others become 0 or infinite."""
    return number == 0 or FLOAT32_MIN <= abs(number) <= FLOAT32_MAX


def to_float32(number: float | int) -> float | int:
    """Return what a number that `is_float32` is in float32; whole numbers stay."""
    return number if isinstance(number, int) else struct.unpack("f", struct.pack("f", number))[0]


@dataclass(frozen=True)
class Range:
    """An interval of finite numbers."""

    low: float | int = -math.inf
    """Smallest number."""
    high: float | int = math.inf
    """Largest number."""
    without_low: bool = False
    """Whether `low` itself is outside."""
    without_high: bool = False
    """Whether `high` itself is outside."""

    def __contains__(self, number: float | int) -> bool:
        """Return whether a number is finite and in the interval, and float32 has it and keeps it off excluded ends."""
        excluded = {end for end, out in ((self.low, self.without_low), (self.high, self.without_high)) if out}
        return self._has(number) and is_float32(number) and to_float32(number) not in excluded

    def _has(self, number: float | int) -> bool:
        above = self.low < number if self.without_low else self.low <= number
        below = number < self.high if self.without_high else number <= self.high
        return math.isfinite(number) and above and below

    def rule(self, number: float | int) -> str:
        """Return as words that follow "must be" what a number outside breaks."""
        if self._has(number) and not is_float32(number):
            return f"from {FLOAT32_MIN:.2g} to {FLOAT32_MAX:.2g} in size, as float32 numbers are"
        if self._has(number):
            return f"in {self._interval()} after rounding to float32"
        if number < self.low < self.high == MAX_INT:
            return f"at least {self.low}"
        if math.isinf(self.low) and math.isinf(self.high):
            return "finite"
        if math.isinf(self.high):
            return f"finite and {'above' if self.without_low else 'at least'} {self.low:g}"
        return f"in {self._interval()}"

    def _interval(self) -> str:
        left, right = "(" if self.without_low else "[", ")" if self.without_high else "]"
        return f"{left}{_digits(self.low)}, {_digits(self.high)}{right}"


def _digits(number: float | int) -> str:
    return f"{number:.0f}" if float(number).is_integer() else f"{number:g}"


Count = Annotated[int, Range(1, MAX_INT)]
"""A number of things, 1 or more."""
Several = Annotated[int, Range(2, MAX_INT)]
"""A number of things, 2 or more."""
Natural = Annotated[int, Range(0, MAX_INT)]
"""A number of things, or none."""
Seed = Annotated[int, Range(0, MAX_INT)]
"""A seed of random numbers."""
Level = Annotated[float, Range(0, 1, without_low=True, without_high=True)]
"""A confidence level."""
Share = Annotated[float, Range(0, 1)]
"""A share of 1."""
Positive = Annotated[float, Range(0, without_low=True)]
"""A positive number."""
