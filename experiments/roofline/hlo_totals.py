"""What a compiled program does in all: bytes, collectives, cycles and kernels, with loops times their trips."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.roofline.hlo_text import Computation, Instruction, Program, parse
from experiments.roofline.hlo_traffic import traffic_of
from experiments.roofline.mosaic_kernels import kernel_of
from experiments.roofline.triton_loads import loads_of

COLLECTIVES = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
"""The kinds of collectives, each also as an asynchronous `KIND-start`."""
UNKNOWN_CYCLES = 2.0**62


@dataclass
class Totals:
    """Sums over one execution of a program on one device."""

    bytes: float = 0.0
    """Bytes between the memory of the device and its chip. A kernel of a GPU counts its operands and results once."""
    loaded_bytes: float = 0.0
    """The same with what the programs of a kernel of a GPU load and store, as often as they do."""
    cycles: float = 0.0
    """Cycles that the compiler of a TPU expects; 0 elsewhere. Kernels have none."""
    collectives: Counter[str] = field(default_factory=Counter)
    """Kind → executions."""
    collective_bytes: Counter[str] = field(default_factory=Counter)
    """Kind → bytes of the larger side of a collective, operands or result, on one device."""
    custom_calls: Counter[str] = field(default_factory=Counter)
    """Target → executions of kernels and library functions."""
    kernel_steps: Counter[str] = field(default_factory=Counter)
    """Name of a kernel of a TPU → steps of its grid in all its executions."""
    unknown_loops: int = 0
    """Loops whose trips depend on the data."""

    def add(self, other: "Totals", times: float = 1.0) -> None:
        """Add what another part of the program does, `times` times."""
        self.bytes += times * other.bytes
        self.loaded_bytes += times * other.loaded_bytes
        self.cycles += times * other.cycles
        self.unknown_loops += other.unknown_loops
        for name in ("collectives", "collective_bytes", "custom_calls", "kernel_steps"):
            for kind, value in getattr(other, name).items():
                getattr(self, name)[kind] += times * value  # type: ignore[operator]  a mean number of trips is no integer


def total(text: str, *, unknown_trips: float = 1.0) -> Totals:
    """Return the totals of a compiled program.

    Args:
        text: the HLO text, as `jax.stages.Compiled.as_text` returns it.
        unknown_trips: how often a loop runs whose trips depend on the data.
    """
    program = parse(text)
    return _Walk(program, unknown_trips).computation(program.entry)


class _Walk:
    """One pass over a program. A collective that is spread over several fusions of one channel counts once."""

    def __init__(self, program: Program, unknown_trips: float) -> None:
        self.program, self.unknown_trips = program, unknown_trips
        self.channels: set[tuple[str, str]] = set()
        self.totals: dict[str, Totals] = {}

    def computation(self, name: str) -> Totals:
        """Return the totals of one execution of a computation."""
        if name not in self.totals:
            totals, computation = Totals(), self.program.computations[name]
            for instruction in computation.values():
                self._add(instruction, computation, totals)
            self.totals[name] = totals
        return self.totals[name]

    def _add(self, instruction: Instruction, computation: Computation, totals: Totals) -> None:
        match instruction.opcode:
            case "while":
                trips = trip_count(instruction, self.program)
                totals.unknown_loops += trips is None
                body = self.computation(instruction.called("body") or "")
                totals.add(body, self.unknown_trips if trips is None else trips)
            case "conditional":
                branches = [self.computation(branch) for branch in _branches(instruction)]
                totals.add(max(branches, key=lambda branch: branch.bytes))
            case "call" | "async-start":
                called = instruction.called("to_apply") or instruction.called("calls")
                totals.add(self.computation(called or ""))
            case _:
                moved, loads = traffic_of(instruction, computation, self.program).total, None
                if instruction.opcode == "custom-call":
                    loads = loads_of(instruction)
                totals.bytes += moved
                totals.loaded_bytes += moved if loads is None else loads.bytes
                totals.cycles += _cycles(instruction)
                for collective, inside in self._collectives(instruction, computation):
                    self._count(collective, inside, totals, is_fused=inside is not computation)
                if instruction.opcode == "custom-call":
                    totals.custom_calls[instruction.quoted("custom_call_target") or "?"] += 1
                    if kernel := kernel_of(instruction):
                        totals.kernel_steps[instruction.name] += kernel.steps

    def _collectives(
        self, instruction: Instruction, computation: Computation
    ) -> Iterator[tuple[Instruction, Computation]]:
        """Yield the instruction if it is a collective, or the collectives inside a fusion."""
        if instruction.opcode.removesuffix("-start") in COLLECTIVES:
            yield instruction, computation
        elif instruction.opcode == "fusion":
            body = self.program.computations.get(instruction.called("calls") or "", {})
            for inner in body.values():
                yield from self._collectives(inner, body)

    def _count(
        self, collective: Instruction, computation: Computation, totals: Totals, *, is_fused: bool
    ) -> None:
        kind = collective.opcode.removesuffix("-start")
        channel = re.search(r"channel_id=(\d+)", collective.attributes)
        key = (kind, channel.group(1) if channel else collective.name)
        if is_fused and key in self.channels:
            return
        self.channels.add(key)
        totals.collectives[kind] += 1
        totals.collective_bytes[kind] += collective_bytes(collective, computation)


def _cycles(instruction: Instruction) -> float:
    """Return the cycles that the compiler expects; 0 if it does not say, or writes 2⁶³ - 1 for an unknown number."""
    cycles = float(instruction.quoted("estimated_cycles") or 0)
    return cycles if cycles < UNKNOWN_CYCLES else 0.0


def collective_bytes(collective: Instruction, computation: Computation) -> int:
    """Return the bytes of the operands of a collective or of its result, whichever has more, on one device."""
    operands = [s for name in collective.operands if name in computation for s in computation[name].shapes]
    results = collective.shapes
    if collective.opcode in ("all-gather-start", "collective-permute-start"):  # (operands, results, context)
        results = results[len(operands) : 2 * len(operands)]
    return max(sum(shape.bytes for shape in shapes) for shapes in (operands, results))


def trip_count(loop: Instruction, program: Program) -> int | None:
    """Return how often a loop runs: what the compiler knows, else the constant bound of its condition, else None."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known.group(1))
    condition = program.computations.get(loop.called("condition") or "", {})
    root = next((instruction for instruction in condition.values() if instruction.is_root), None)
    bounds = [condition[name] for name in root.operands if name in condition] if root else []
    constants = [i.arguments for i in bounds if i.opcode == "constant" and i.arguments.isdigit()]
    is_upward = root is not None and root.opcode == "compare" and "direction=LT" in root.attributes
    return int(constants[0]) if is_upward and constants else None


def _branches(conditional: Instruction) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes)
    if listed:
        return re.findall(r"%?([\w.\-]+)", listed.group(1))
    return re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", conditional.attributes)
