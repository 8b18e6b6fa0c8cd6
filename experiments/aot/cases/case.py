"""A case: one program for one machine, and what it must reach."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Workload(NamedTuple):
    """A program that can be traced."""

    function: Any
    """A jitted function."""
    arguments: tuple[Any, ...]
    """Shapes with shardings, on the devices of the machine."""
    static: dict[str, Any] = {}
    """Static keyword arguments."""
    unknown_trips: float = 1.0
    """How often a loop runs whose trips depend on the data."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a measured quantity must not exceed: a number, or `at_most` · (that of another case) + `plus`."""

    quantity: str
    """Name of an entry of the row of a case."""
    at_most: float
    """The largest value, or the largest multiple."""
    of: str = ""
    """Program of the other case, on the same machine."""
    of_quantity: str = ""
    """Its quantity, if it is another one."""
    plus: float = 0.0
    """What may be added to the multiple."""

    def limit(self, others: dict[str, dict[str, Any]]) -> float | None:
        """Return the largest value, None if the other case has no such quantity.

        Args:
            others: program -> row, of the same machine.
        """
        if not self.of:
            return self.at_most
        reference = others.get(self.of, {}).get(self.of_quantity or self.quantity)
        return None if reference is None else self.at_most * reference + self.plus


@dataclasses.dataclass(frozen=True)
class Case:
    """One program for one machine."""

    group: str
    """Which part of the library it belongs to."""
    program: str
    """What is compiled, unique on its machine."""
    target: str
    """Name of the machine in `TARGETS`."""
    build: Callable[[Sequence[Any]], Workload]
    """Devices of the machine -> the program."""
    mesh: str = ""
    """How the devices are laid out, for the table."""
    tokens: int = 0
    """Tokens of a sequence, for the figure of memory; 0 leaves it out."""
    bounds: tuple[Bound, ...] = ()
    """What it must reach, beside fitting the memory."""
    kernels: tuple[str, ...] = ()
    """Names of kernels that the program for a TPU must run, without their numbers, such as "attention_forward"."""

    @property
    def name(self) -> str:
        """Unique name."""
        return f"{self.target}, {self.program}"
