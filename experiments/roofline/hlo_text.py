"""The text of a compiled program as instructions: shapes, memory spaces, operands and the computations they call."""

import math
import re
from typing import NamedTuple

WIDTHS = {
    **{"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32},
    **{"s64": 64, "u64": 64, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128},
    **{"f8e4m3fn": 8, "f8e4m3": 8, "f8e5m2": 8, "f8e4m3b11fnuz": 8, "f8e5m2fnuz": 8, "f8e4m3fnuz": 8},
}
"""Bits of an element. Types without data, such as tokens, are not in it."""
DEVICE_MEMORY = 0
"""The memory space of arrays without `S(n)` in their layout: HBM of an accelerator, RAM of a CPU."""

_ARRAY = re.compile(r"\b([a-z]+[0-9][a-z0-9]*|pred)\[([\d,<=]*)\](\{[^{}]*\})?")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"(ROOT )?%?([\w.\-]+) = ")
_NAME = re.compile(r"%([\w.\-]+)")


class Shape(NamedTuple):
    """An array of the program: its type, its dimensions and where it lies."""

    dtype: str
    dimensions: tuple[int, ...]
    space: int = DEVICE_MEMORY

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dimensions)

    @property
    def bytes(self) -> int:
        """Bytes of the array without padding, wherever it lies."""
        return self.size * WIDTHS[self.dtype] // 8

    @property
    def memory_bytes(self) -> int:
        """Bytes of the array in the memory of the device; 0 for an array on the chip or on the host."""
        return self.bytes if self.space == DEVICE_MEMORY else 0


class Instruction(NamedTuple):
    """One instruction of a computation."""

    name: str
    shapes: tuple[Shape, ...]
    """The result; several arrays for a tuple, in order, nested tuples flattened."""
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    """The text between the parentheses: the number of a parameter, the value of a constant."""
    attributes: str
    """The text after the parentheses."""
    is_root: bool

    def called(self, attribute: str) -> str | None:
        """Return the computation that an attribute such as `calls` or `body` names, None without it."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return match.group(1) if match else None

    def quoted(self, attribute: str) -> str | None:
        """Return the value of `attribute="value"` or `"attribute":"value"`, None without it."""
        match = re.search(rf'\b{attribute}"?[=:]"([^"]*)"', self.attributes)
        return match.group(1) if match else None


Computation = dict[str, Instruction]
"""Instructions by name, in their order."""


class Program(NamedTuple):
    """The computations of a compiled program."""

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Read the text of a compiled program, as `jax.stages.Compiled.as_text` returns it.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for line in map(str.strip, text.splitlines()):
        head = _COMPUTATION.match(line)
        if head and not _INSTRUCTION.match(line):
            current = computations.setdefault(head.group(2), {})
            entry = head.group(2) if head.group(1) else entry
        elif line == "}":
            current = None
        elif current is not None and (instruction := _parse_instruction(line)):
            current[instruction.name] = instruction
    if entry is None:
        raise ValueError(
            f"a compiled program has an entry computation, got {text[:60]!r}; pass its HLO text."
        )
    return Program(computations, entry)


def shapes_of(text: str) -> tuple[Shape, ...]:
    """Return the arrays of a type such as `(f32[8,128]{1,0:T(8,128)S(1)}, s32[])`."""
    shapes = []
    for dtype, dimensions, layout in _ARRAY.findall(text):
        if dtype in WIDTHS:
            space = re.search(r"S\((\d+)\)", layout)
            sizes = tuple(int(size.lstrip("<=")) for size in dimensions.split(",") if size)
            shapes.append(Shape(dtype, sizes, int(space.group(1)) if space else DEVICE_MEMORY))
    return tuple(shapes)


def _parse_instruction(line: str) -> Instruction | None:
    head = _INSTRUCTION.match(line)
    if not head:
        return None
    rest = line[head.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opcode, parenthesis, _ = rest.partition("(")
    if not parenthesis:
        return None
    start, end = len(opcode), _closing(rest, len(opcode))
    arguments = rest[start + 1 : end]
    return Instruction(
        name=head.group(2),
        shapes=shapes_of(kind),
        opcode=opcode,
        operands=tuple(_NAME.findall(arguments)),
        arguments=arguments,
        attributes=rest[end + 1 :],
        is_root=bool(head.group(1)),
    )


def _closing(text: str, start: int) -> int:
    """Return the position of the parenthesis that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return position
    return len(text)
