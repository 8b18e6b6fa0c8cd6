"""The kernels of Triton inside a compiled program: the bytes that their programs load and store.

Every load and every store of every program of the grid counts with its whole block, masked elements too, as often as
its loops run. Trips that depend on the index of the program are summed over the grid. So an array that every program
reads counts once for every program, as the blocks of a kernel of a TPU do that its grid fetches again
(`mosaic_kernels`). A GPU has a cache that catches many of these reads: the bytes that reach the memory of the device
lie between the operands and results of the kernel, each once, and this number.

A branch whose condition depends on data, or on the trip of a loop, counts as the dearer side. The IR is that of JAX
0.10, which hands it to the compiler; later versions hand over a compiled kernel.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax._src.interpreters.mlir import make_ir_context
from jax.extend.mlir import ir
from jaxlib.triton import dialect

from experiments.roofline.hlo_text import WIDTHS, Instruction
from experiments.roofline.scalar_arithmetic import evaluate

TARGET = "__gpu$xla.gpu.triton"
WITHOUT_IR = ("triton_kernel_call", "triton_kernel_call_ffi")
"""Targets of later versions of JAX, and of other libraries."""

_GRID = re.compile(r"\bgrid_[xyz] = (\d+)")
_CODE = re.compile(r'\bir = "((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(\\|[0-9A-Fa-f]{2})")
_BLOCK = re.compile(r"(?:tensor<((?:\d+x)*))?([a-z]\w*)")


class Loads(NamedTuple):
    """What one run of a kernel loads and stores."""

    programs: int
    """Programs of the grid."""
    loaded: int
    """Bytes of the loads of all programs."""
    stored: int
    """Bytes of the stores of all programs."""

    @property
    def bytes(self) -> int:
        """Both together."""
        return self.loaded + self.stored


def loads_of(instruction: Instruction) -> Loads | None:
    """Return the loads of a custom call, None if it is no kernel of Triton.

    Raises:
        ValueError: the kernel has no IR, or a loop of it depends on data.
    """
    target = instruction.quoted("custom_call_target")
    if target != TARGET and target not in WITHOUT_IR:
        return None
    code = _CODE.search(instruction.attributes)
    if code is None or target != TARGET:
        raise ValueError(
            f"loads are counted in the IR of a kernel, which JAX 0.10 puts into its custom call, got {target!r} "
            f"without it; compile with that version."
        )
    grid = tuple(int(size) for size in _GRID.findall(instruction.attributes[: code.start()]))
    return _read(code.group(1), grid)


@functools.lru_cache(maxsize=64)
def _read(code: str, grid: tuple[int, ...]) -> Loads:
    with make_ir_context() as context, ir.Location.unknown():
        dialect.register_dialect(context)
        module = ir.Module.parse(_ESCAPE.sub(_unescape, code.encode()))
        function = next(f.operation for f in module.body.operations if f.operation.name == "tt.func")
        programs = math.prod(grid)
        moved = _Programs(grid).run(function.regions[0].blocks[0], np.ones(programs, np.int64))
    return Loads(programs, moved["loaded"], moved["stored"])


def _unescape(match: re.Match[bytes]) -> bytes:
    """Return the byte of `\\\\` or of two hexadecimal digits."""
    return b"\\" if match.group(1) == b"\\" else bytes.fromhex(match.group(1).decode())


class _Programs:
    """All programs of a grid side by side: the value of an integer is an array with a number for each program."""

    def __init__(self, grid: tuple[int, ...]) -> None:
        self.grid = grid
        self.index = np.indices(grid, np.int64).reshape(len(grid), -1)
        self.values: dict[Any, Any] = {}

    def run(self, block: Any, times: np.ndarray) -> Counter[str]:
        """Return the bytes of a block that every program runs so many times."""
        moved: Counter[str] = Counter()
        for operation in (view.operation for view in block.operations):
            match operation.name:
                case "tt.load":
                    if _is_used(operation.results[0]):
                        moved["loaded"] += int(times.sum()) * _bytes(operation.results[0])
                case "tt.store":
                    moved["stored"] += int(times.sum()) * _bytes(operation.operands[1])
                case "tt.atomic_rmw" | "tt.atomic_cas":
                    moved["loaded"] += int(times.sum()) * _bytes(operation.operands[1])
                    moved["stored"] += int(times.sum()) * _bytes(operation.operands[1])
                case "scf.for":
                    moved += self.run(operation.regions[0].blocks[0], times * self._trips(operation))
                case "scf.if":
                    moved += self._run_branches(operation, times)
                case "scf.while":
                    raise ValueError(
                        "loads are counted for loops with a first and a last trip, got a loop with another condition; "
                        "write it with `jax.lax.fori_loop`."
                    )
                case _:
                    self._evaluate(operation)
        return moved

    def _operands(self, operation: Any) -> list[Any]:
        return [self.values.get(operand) for operand in operation.operands]

    def _trips(self, loop: Any) -> Any:
        """Return the trips of a loop in every program."""
        lower, upper, step = self._operands(loop)[:3]
        if lower is None or upper is None or step is None:
            raise ValueError(
                "loads are counted for loops whose trips follow from the index of the program, got a loop whose trips "
                "depend on data or on another loop; count it by hand."
            )
        return np.maximum(-((lower - upper) // step), 0)

    def _run_branches(self, branch: Any, times: np.ndarray) -> Counter[str]:
        """Return the bytes of the sides that the programs take, or of the dearer side if that is not known."""
        condition = self._operands(branch)[0]
        sides = [region.blocks[0] for region in branch.regions if len(region.blocks)]
        if condition is None:
            return max((self.run(side, times) for side in sides), key=Counter.total)
        moved: Counter[str] = Counter()
        for side, is_taken in zip(sides, (condition, 1 - condition), strict=False):
            moved += self.run(side, times * is_taken)
        results = [self._operands(_last(side)) for side in sides]
        for result, *values in zip(branch.results, *results, strict=True):
            if all(value is not None for value in values):
                self.values[result] = np.where(condition, *values)
        return moved

    def _evaluate(self, operation: Any) -> None:
        """Keep the value of an operation on integers."""
        if len(operation.results) != 1 or not _is_integer(operation.results[0]):
            return
        value, attributes = None, operation.attributes
        if operation.name == "tt.get_program_id":
            value = self.index[_number(attributes["axis"])]
        elif operation.name == "tt.get_num_programs":
            value = self.grid[_number(attributes["axis"])]
        elif operation.name.startswith("arith."):
            names = [name for name in ("value", "predicate") if name in attributes]
            text = ", ".join(f"{name} = {attributes[name]}" for name in names)
            value = evaluate(operation.name.removeprefix("arith."), self._operands(operation), text)
        self.values[operation.results[0]] = value


def _last(block: Any) -> Any:
    """Return the operation that ends a block."""
    operations: Sequence[Any] = block.operations
    return operations[len(operations) - 1].operation


def _is_used(value: Any) -> bool:
    """Return whether something needs a value; a store of JAX loads what it overwrites, and nothing needs it."""
    return next(iter(value.uses), None) is not None


def _is_integer(value: Any) -> bool:
    """Return whether a value is one integer."""
    return re.fullmatch(r"i\d+|index", str(value.type)) is not None


def _number(attribute: Any) -> int:
    """Return the number of `0 : i32`."""
    return int(str(attribute).split(" ")[0])


def _bytes(value: Any) -> int:
    """Return the bytes of a value of a type such as `tensor<128x64xbf16>`, or of one element."""
    match = _BLOCK.match(str(value.type))
    if match is None:
        raise ValueError(
            f"a load returns a block of numbers or one number, got {value.type}; add its type here."
        )
    sizes = [int(size) for size in (match.group(1) or "").split("x") if size]
    kind = re.sub(r"^i", "s", match.group(2).lower())
    return math.prod(sizes) * WIDTHS.get(kind, 8) // 8  # i1 takes a byte
