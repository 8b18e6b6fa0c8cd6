"""The table and the figure of the runs on long sequences."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments import run
from experiments.run.figures import STYLE, label_log_axis, save, series_style
from experiments.run.report import Table


class LongRow(NamedTuple):
    """One variant at one length."""

    variant: str
    length: int
    accuracy: float
    """Mean over the seeds of the share of labels that are right."""
    lowest: float
    """Accuracy of the worst seed."""
    highest: float
    """Accuracy of the best seed."""
    rows: int
    """Test rows."""
    seconds: float | None
    """Seconds of a training step; None at the training length, where it is not measured."""
    bytes: int | None
    """Temporary bytes of a training step; None if the compiler does not say."""


def long_row(
    variant: str, length: int, accuracies: Sequence[Mapping[str, Any]], cost: Mapping[str, Any] | None
) -> LongRow:
    """Return a row of the table from the measurements of all seeds."""
    values = [measured["accuracy"] for measured in accuracies]
    seconds, size = (None, None) if cost is None else (cost["seconds"], cost["bytes"])
    mean = statistics.fmean(values)
    return LongRow(variant, length, mean, min(values), max(values), accuracies[0]["rows"], seconds, size)


def long_table(rows: Sequence[LongRow], floors: Mapping[str, float], title: str) -> Table:
    """Return the table: a line for every variant and length.

    Args:
        rows: the measurements.
        floors: accuracies of predictors that recall nothing.
        title: title.
    """
    first = {row.length: row for row in reversed(rows)}
    cells = [_cells(row, first[row.length]) for row in rows]
    behind = [(name, "", f"{100 * value:.1f}", "", "", "", "", "") for name, value in floors.items()]
    columns = ("variant", "tokens", "right %", "rows", "s/step", "vs first", "MiB", "vs first")
    return Table(title, columns, [*cells, (), *behind])


def _cells(row: LongRow, first: LongRow) -> tuple[str, ...]:
    spread = f" [{100 * row.lowest:.1f}, {100 * row.highest:.1f}]" if row.lowest < row.highest else ""
    return (
        *(row.variant, f"{row.length:,}", f"{100 * row.accuracy:.1f}{spread}", f"{row.rows:,}"),
        *("-" if row.seconds is None else f"{row.seconds:.3g}", _ratio(row.seconds, first.seconds)),
        *("-" if row.bytes is None else f"{row.bytes / 2**20:,.0f}", _ratio(row.bytes, first.bytes)),
    )


def _ratio(value: float | None, first: float | None) -> str:
    return "" if value is None or not first else f"× {value / first:.2f}"


def draw_long(folder: run.Run, rows: Sequence[LongRow], floors: Mapping[str, float], title: str) -> Path:
    """Write `long.png`: accuracy, time and memory of every variant against the length."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 4.2), layout="constrained")
        panels = figure.subplots(1, 3)
        for index, variant in enumerate(dict.fromkeys(row.variant for row in rows)):
            own = [row for row in rows if row.variant == variant]
            style = {**series_style(index), "marker": "."}
            values = (
                [(row.length, 100 * row.accuracy) for row in own],
                [(row.length, row.seconds) for row in own if row.seconds is not None],
                [(row.length, row.bytes / 2**20) for row in own if row.bytes is not None],
            )
            for panel, points in zip(panels, values, strict=True):
                label = variant if panel is panels[0] else None
                panel.plot([x for x, _ in points], [y for _, y in points], label=label, **style)
        for value in floors.values():
            panels[0].axhline(100 * value, color="0.6", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        panels[0].set(
            title="recall; dashed: predictors that recall nothing", ylabel="right (%)", ylim=(0, 102)
        )
        panels[1].set(title="training step", ylabel="seconds", yscale="log")
        panels[2].set(title="temporary memory of a training step", ylabel="MiB", yscale="log")
        for panel in panels:
            panel.set(xscale="log", xlabel="tokens")
            label_log_axis(panel.xaxis, sorted({row.length for row in rows}))
        for panel in panels[1:]:
            if panel.get_lines() and any(len(line.get_xdata()) for line in panel.get_lines()):
                label_log_axis(panel.yaxis)
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
        return save(figure, folder.folder, "long", title=title)
