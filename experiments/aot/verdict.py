"""Expected times of compiled cases, and which bounds they break."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.aot.cases.case import Case
from experiments.aot.targets import TARGETS
from experiments.roofline import estimate

Row = dict[str, Any]


class Violation(NamedTuple):
    """A case that does not reach what it must."""

    case: str
    quantity: str
    value: float | None
    limit: float | None
    sentence: str


def finish(case: Case, row: Row) -> Row:
    """Add to a row what follows from the machine: the share of its memory, times, and the share of the roofline."""
    target = TARGETS[case.target]
    labels = {
        "name": case.name,
        "group": case.group,
        "program": case.program,
        "machine": case.target,
        "chip": target.chip,
        "devices": target.count,
        "mesh": case.mesh,
        "tokens": case.tokens,
    }
    if row["status"] != "compiled":
        return labels | row
    times = estimate(
        target.limits,
        flops=row["flops_by_kind"],
        moved=row["moved_bytes"],
        least_bytes=row["least_bytes"],
        collective_bytes=row["collective_bytes_by_kind"],
        cycles=row["cycles"],
    )
    milliseconds = {f"{name}_ms": 1e3 * value for name, value in times._asdict().items()}
    return {
        **labels,
        **row,
        "memory_limit": target.limits.memory,
        "memory_share": row["total_bytes"] / target.limits.memory,
        **milliseconds,
        "expected_ms": 1e3 * times.expected,
        "bound_by": times.bound_by,
        "roofline_share": times.share,
    }


def violations(cases: Mapping[str, Case], rows: Mapping[str, Row]) -> list[Violation]:
    """Return everything that a case must reach and does not.

    Args:
        cases: the cases by name.
        rows: finished rows by name of the case.
    """
    broken = []
    for name, row in rows.items():
        case = cases[name]
        if row["status"] != "compiled":
            broken.append(Violation(name, "status", None, None, f"{name} {row['status']}: {row['reason']}"))
            continue
        if row["memory_share"] > 1:
            sentence = f"{name} needs {row['total_bytes'] / 1e9:.1f} GB of {row['memory_limit'] / 1e9:.1f} GB a device"
            broken.append(Violation(name, "memory_share", row["memory_share"], 1.0, sentence))
        present = {kernel.split(".")[0] for kernel in row["kernel_steps"]}
        for kernel in set(case.kernels) - present:
            broken.append(Violation(name, "kernels", None, None, f"{name} does not run the kernel {kernel}"))
        others = {cases[other].program: r for other, r in rows.items() if cases[other].target == case.target}
        for bound in case.bounds:
            limit, value = bound.limit(others), row[bound.quantity]
            if limit is not None and value > limit:
                sentence = f"{name}: {bound.quantity} is {value:.4g}, at most {limit:.4g}"
                broken.append(Violation(name, bound.quantity, value, limit, sentence))
    return broken
