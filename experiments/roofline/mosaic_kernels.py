"""The kernels of a TPU inside a compiled program: their grid, and the blocks that they fetch and store.

The pipeline around a kernel fetches a block whenever its index changes from one grid step to the next. Blocks that
overlap, such as the halo of a stencil, and blocks that come back, such as the keys of attention, are fetched again. Of
an array of which a kernel takes a few blocks, only these count. Where an index depends on data, every step is a fetch.
"""

import base64
import functools
import math
import re
from typing import Any, NamedTuple

import numpy as np
from jax._src.lib import tpu  # pyright: ignore[reportPrivateImportUsage]  the dialect has no public door
from jax.extend.mlir import ir

from experiments.roofline.hlo_text import WIDTHS, Instruction
from experiments.roofline.scalar_arithmetic import evaluate

TARGET = "tpu_custom_call"

_BODY = re.compile(r'"body":"([A-Za-z0-9+/=]+)"')
_OPERATION = re.compile(r'(%\w+) = "[\w.]*arith\.(\w+)"\(([^)]*)\)(.*)')
_MEMREF = re.compile(r"memref<((?:\d+x)*)([a-z]+\d+)\b.*?(?:memory_space<(\w+)>|>)")


class Kernel(NamedTuple):
    """One kernel."""

    steps: int
    """Steps of the grid."""
    bytes: tuple[int, ...]
    """Bytes that each operand and result moves in one run: blocks times their fetches or stores."""


def kernel_of(instruction: Instruction) -> Kernel | None:
    """Return the kernel of a custom call, None if it is none or has no text."""
    body = _BODY.search(instruction.attributes)
    is_kernel = instruction.quoted("custom_call_target") == TARGET
    return _read(body.group(1)) if is_kernel and body else None


@functools.lru_cache(maxsize=64)
def _read(body: str) -> Kernel:
    context = ir.Context()
    tpu.register_dialect(context)
    context.allow_unregistered_dialects = True
    with context, ir.Location.unknown():
        module = ir.Module.parse(base64.b64decode(body))
        functions = {
            str(operation.attributes["sym_name"]).strip('"'): operation
            for operation in module.body.operations
        }
        main = next(f for f in functions.values() if "iteration_bounds" in f.attributes)
        grid = _numbers(str(main.attributes["iteration_bounds"]))
        prefetched = int(str(main.attributes["scalar_prefetch"]).split(" ")[0])
        types = [str(argument.type) for argument in main.regions[0].blocks[0].arguments]
        windows = re.findall(r"\{([^{}]*)\}", str(main.attributes["window_params"]))
        arrays = types[len(grid) : len(grid) + prefetched + len(windows)]
        moved = [_bytes(kind) for kind in arrays[:prefetched]]
        for window, kind in zip(windows, arrays[prefetched:], strict=True):
            transform = re.search(r"transform_indices = @(\w+)", window)
            times = fetches(str(functions[transform.group(1)]), grid) if transform and _is_block(kind) else 1
            moved.append(_bytes(kind) * times)
    return Kernel(math.prod(grid), tuple(moved))


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of `array<i64: 8, 32>`."""
    return tuple(int(number) for number in re.findall(r"-?\d+", text.partition(":")[2]))


def _bytes(kind: str) -> int:
    """Return the bytes of a type such as `memref<1x16x512xbf16, #tpu.memory_space<vmem>>`."""
    match = _MEMREF.search(kind)
    if match is None:
        return 0
    sizes = [int(size) for size in match.group(1).split("x") if size]
    return math.prod(sizes) * WIDTHS.get(re.sub(r"^i", "s", match.group(2)), 8) // 8  # i1 takes a byte


def _is_block(kind: str) -> bool:
    """Return whether the pipeline moves blocks of an array; False if the kernel itself copies from the whole array."""
    match = _MEMREF.search(kind)
    return match is not None and match.group(3) not in ("any", "hbm")


def fetches(transform: str, grid: tuple[int, ...]) -> int:
    """Return how many blocks a grid fetches, in row-major order: steps at which the index differs from the last one.

    Args:
        transform: the text of the function from a grid step to the index of a block.
        grid: the sizes of the grid.
    """
    steps = math.prod(grid)
    points = np.indices(grid, np.int64).reshape(len(grid), -1)
    values: dict[str, Any] = {f"%arg{axis}": column for axis, column in enumerate(points)}
    for result, operation, operands, rest in _OPERATION.findall(transform):
        values[result] = evaluate(operation, [values.get(name.strip()) for name in operands.split(",")], rest)
    returned = re.search(r'func\.return"\(([^)]*)\)', transform)
    index = [values.get(name.strip()) for name in returned.group(1).split(",")] if returned else [None]
    columns = [np.broadcast_to(column, steps) for column in index if column is not None]
    if len(columns) < len(index):
        return steps
    table = np.stack(columns)
    return 1 + int(np.any(table[:, 1:] != table[:, :-1], axis=0).sum())
