"""Bytes that one instruction of a compiled program moves between the memory of the device and its chip.

An instruction reads its operands and writes its result, as far as they lie in the memory of the device. A fusion
computes what its result needs, so an operand of which it needs only slices counts as those slices, and what it updates
in place counts as the update. A kernel of a TPU moves the blocks of its grid.
"""

from collections import defaultdict
from typing import NamedTuple

from experiments.roofline.hlo_text import WIDTHS, Computation, Instruction, Program, Shape
from experiments.roofline.mosaic_kernels import kernel_of

WITHOUT_TRAFFIC = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota", "partition-id"),
    *("replica-id", "opt-barrier", "add-dependency", "rng-get-and-update-state", "send", "recv"),
    *("copy-done", "async-done", "async-update", "slice-done", "send-done", "recv-done"),
    *("all-reduce-done", "all-gather-done", "collective-permute-done", "dynamic-slice-done"),
}
"""Instructions that move nothing of their own."""
SLICES = {"slice", "dynamic-slice", "gather"}
"""Instructions that read as much of their first operand as they return."""
ELEMENTWISE = {
    *(
        "bitcast",
        "convert",
        "copy",
        "negate",
        "abs",
        "sign",
        "not",
        "exponential",
        "exponential-minus-one",
        "log",
    ),
    *(
        "log-plus-one",
        "tanh",
        "logistic",
        "sqrt",
        "rsqrt",
        "floor",
        "ceil",
        "round-nearest-even",
        "is-finite",
    ),
    *(
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "power",
        "compare",
        "select",
        "and",
        "or",
        "xor",
    ),
    *("clamp", "remainder", "sine", "cosine", "erf", "shift-left", "shift-right-logical", "bitcast-convert"),
}
"""Instructions that need an element of an operand for an element of the result."""
WORKSPACE_CALLS = ("__cublas", "__cudnn")
"""Libraries whose calls return their scratch space, in bytes, as the last element of a tuple."""


class Traffic(NamedTuple):
    """Bytes read from and written to the memory of the device."""

    read: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.read + self.written


def traffic_of(instruction: Instruction, computation: Computation, program: Program) -> Traffic:
    """Return the traffic of one execution of an instruction that is neither a loop nor a branch nor a call."""
    operands = [computation[name] for name in instruction.operands if name in computation]
    opcode = instruction.opcode
    if opcode in WITHOUT_TRAFFIC:
        return Traffic()
    if opcode == "fusion" and (body := program.computations.get(instruction.called("calls") or "")):
        return _traffic_of_fusion(instruction, operands, body, program)
    if opcode == "copy-start":  # (destination, source, context)
        return Traffic(_memory_bytes(operands[:1]), sum(s.memory_bytes for s in instruction.shapes[:1]))
    if opcode == "slice-start":  # ((source), destination, context)
        slices = instruction.shapes[len(operands) : len(operands) + 1]
        whole = _memory_bytes(operands[:1])
        return Traffic(min(whole, sum(s.bytes for s in slices)), sum(s.memory_bytes for s in slices))
    if opcode in SLICES:
        return Traffic(_sliced(operands[0], instruction), _memory_bytes([instruction]))
    if opcode == "dynamic-update-slice":
        update = _memory_bytes(operands[1:2])
        is_outside = bool(_memory_bytes([instruction]))
        return Traffic(update, sum(s.bytes for s in operands[1].shapes) if is_outside else 0)
    if opcode == "custom-call" and (kernel := kernel_of(instruction)):
        sides = [shape for operand in operands for shape in operand.shapes], list(instruction.shapes)
        moved = iter(kernel.bytes)
        read, written = (
            sum(bytes_ if shape.memory_bytes else 0 for shape, bytes_ in zip(side, moved, strict=False))
            for side in sides
        )
        return Traffic(read, written)
    return Traffic(_memory_bytes(operands), _result_bytes(instruction))


def _memory_bytes(instructions: list[Instruction]) -> int:
    return sum(shape.memory_bytes for instruction in instructions for shape in instruction.shapes)


def _result_bytes(instruction: Instruction) -> int:
    """Return the bytes of the result, without the scratch space that a call of a library returns beside it."""
    shapes = instruction.shapes
    target = instruction.quoted("custom_call_target") or ""
    if target.startswith(WORKSPACE_CALLS) and len(shapes) > 1:
        shapes = shapes[:-1]
    return sum(shape.memory_bytes for shape in shapes)


def _sliced(operand: Instruction, result: Instruction) -> int:
    """Return the bytes that a slice reads: its elements in the type of the operand, at most the whole operand."""
    whole = _memory_bytes([operand])
    width = WIDTHS[operand.shapes[0].dtype]
    return min(whole, sum(shape.size for shape in result.shapes) * width // 8)


def _traffic_of_fusion(
    fusion: Instruction, operands: list[Instruction], body: Computation, program: Program
) -> Traffic:
    fused, read = _Fused(body, program), 0
    for number, operand in enumerate(operands):
        whole, width = _memory_bytes([operand]), WIDTHS[operand.shapes[0].dtype] if operand.shapes else 0
        read += min(whole, fused.elements_read_of(number) * width // 8)
    return Traffic(read, _bytes_written(fusion, body))


class _Fused:
    """How many elements of its parameters a fused computation reads."""

    def __init__(self, body: Computation, program: Program) -> None:
        self.body, self.program = body, program
        self.users: dict[str, list[tuple[Instruction, int]]] = defaultdict(list)
        self.read: dict[str, int] = {}
        for instruction in body.values():
            for position, name in enumerate(instruction.operands):
                self.users[name].append((instruction, position))

    def elements_read_of(self, number: int) -> int:
        """Return the elements that are read of a parameter."""
        parameters = (i for i in self.body.values() if i.opcode == "parameter")
        return next((self.elements_read(i) for i in parameters if int(i.arguments) == number), 0)

    def elements_read(self, value: Instruction) -> int:
        """Return the elements of a value that its users need."""
        if value.name not in self.read:
            whole = sum(shape.size for shape in value.shapes)
            needed = sum(self._needed(value, user, position) for user, position in self.users[value.name])
            self.read[value.name] = whole if value.is_root else min(whole, needed)
        return self.read[value.name]

    def _needed(self, value: Instruction, user: Instruction, position: int) -> int:
        """Return the elements of a value that one user needs."""
        whole = sum(shape.size for shape in value.shapes)
        if user.opcode in ELEMENTWISE and sum(shape.size for shape in user.shapes) == whole:
            return self.elements_read(user)
        if user.opcode in SLICES and position == 0:
            return min(whole, self.elements_read(user))
        if user.opcode == "dynamic-update-slice" and position == 0:
            return 0  # updated in place
        if user.opcode == "fusion" and (inner := self.program.computations.get(user.called("calls") or "")):
            return _Fused(inner, self.program).elements_read_of(position)
        return whole


def _bytes_written(fusion: Instruction, body: Computation) -> int:
    root = next(instruction for instruction in body.values() if instruction.is_root)
    if root.opcode == "tuple" and len(root.operands) == len(fusion.shapes):
        pairs = zip((body[name] for name in root.operands), fusion.shapes, strict=True)
        return sum(_written(value, shape, body) for value, shape in pairs)
    if len(fusion.shapes) == 1:
        return _written(root, fusion.shapes[0], body)
    return _memory_bytes([fusion])


def _written(value: Instruction, shape: Shape, body: Computation) -> int:
    """Return the bytes of a result: of its update if it is updated in place."""
    while value.opcode == "bitcast" and value.operands[0] in body:
        value = body[value.operands[0]]
    if value.opcode == "dynamic-update-slice" and shape.memory_bytes:
        return sum(s.bytes for s in body[value.operands[1]].shapes)
    return shape.memory_bytes
