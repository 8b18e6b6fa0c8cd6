"""Tables of the compiled programs: one for each group, and the kernels of a GPU that read their operands again."""

from collections.abc import Sequence
from typing import Any

from experiments.run.report import Table

Row = dict[str, Any]
COLUMNS = (
    *("machine", "program", "GB", "of", "moved GB", "over least", "T operations", "collectives", "their MB"),
    *("expected ms", "by", "roofline"),
)
LOADS = ("machine", "program", "moved GB", "loaded GB", "loaded over moved")
"""Columns for kernels that load more than their operands; a cache decides how much of it reaches the memory."""


def tables(rows: Sequence[Row]) -> list[Table]:
    """Return one table for each group, and one for kernels that load more than their operands, per device."""
    groups = dict.fromkeys(row["group"] for row in rows)
    result = [
        Table(f"{group}, per device", COLUMNS, [cells(row) for row in rows if row["group"] == group])
        for group in groups
    ]
    again = [row for row in rows if row["status"] == "compiled" and row["loaded_bytes"] != row["moved_bytes"]]
    if again:
        result.append(Table("loads of GPU kernels, per device", LOADS, [load_cells(row) for row in again]))
    return result


def markdown(tables: Sequence[Table]) -> str:
    """Return the tables in Markdown, each under its title."""
    parts = []
    for table in tables:
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        parts += [f"## {table.title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one program."""
    head = (row["machine"], row["program"])
    if row["status"] != "compiled":
        return (*head, row["status"], *("-" for _ in COLUMNS[3:]))
    kinds = " + ".join(f"{count:.0f} {kind}" for kind, count in row["collectives"].items()) or "none"
    return (
        *head,
        _figure(row["total_bytes"] / 1e9),
        _figure(row["memory_limit"] / 1e9),
        _figure(row["moved_bytes"] / 1e9),
        f"{_figure(row['bytes_ratio'])}x",
        _figure(row["flops"] / 1e12),
        kinds,
        _figure(row["collective_bytes"] / 1e6),
        _figure(row["expected_ms"]),
        row["bound_by"],
        f"{100 * row['roofline_share']:.0f} %",
    )


def load_cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one program whose kernels read their operands again."""
    return (
        row["machine"],
        row["program"],
        _figure(row["moved_bytes"] / 1e9),
        _figure(row["loaded_bytes"] / 1e9),
        f"{_figure(row['loaded_bytes'] / row['moved_bytes'])}x",
    )


def _figure(value: float) -> str:
    """Return three digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.1g}"
