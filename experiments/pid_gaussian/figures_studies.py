"""Figures of the studies, from their rows."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.pid_gaussian.quantities import SYMBOLS
from experiments.run import Row
from experiments.run.figures import seeds_label
from pid.estimators.results import FIELDS
from pid.plots import SERIES_STYLE, STYLE
from pid.plots.style import ATOMS

COLORS = {
    "plug-in": "0.5",
    "none": "0.5",
    "wishart": "#0072B2",
    "bootstrap": "#E69F00",
    "thinned": "#009E73",
}
VERDICT_COLORS = {"sound": "#009E73", "doubtful": "#E69F00", "not to be used": "#D55E00"}


@mpl.rc_context(STYLE)
def draw_bias(rows: list[Row]) -> Figure:
    """Draw mean error ± standard error against the dimension, one row of panels for each system."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    figure = Figure(figsize=(12.4, 2.7 * len(systems) + 0.4), layout="constrained")
    fields = ("mi_joint", *ATOMS)
    grid = figure.subplots(len(systems), len(fields), squeeze=False)
    for panels, system in zip(grid, systems, strict=True):
        system_rows = [row for row in rows if row["system"] == system]
        for panel, field in zip(panels, fields, strict=True):
            panel.axhline(0, color="0.8", linewidth=1)
            for method in system_rows[0]["estimates"]:
                _errors(panel, system_rows, method, field)
            ticks = [row["d"] for row in system_rows]
            panel.set(title=SYMBOLS[field], xlabel="dimensions of each variable", xticks=ticks)
        panels[0].set_ylabel(f"{system}\nbias, bits")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    count = len(rows[0]["estimates"]["plug-in"][fields[0]])
    title = f"mean ± standard error of {count} data sets (all seeds), n = {rows[0]['n']}, synthetic"
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title=title)
    return figure


def _errors(panel: Any, rows: list[Row], method: str, field: str) -> None:
    errors = [np.array(row["estimates"][method][field]) - row["truth"][field] for row in rows]
    means = [e.mean() for e in errors]
    standard_errors = [e.std(ddof=1) / len(e) ** 0.5 if len(e) > 1 else np.nan for e in errors]
    style: dict[str, Any] = {"color": COLORS[method], "marker": "o", "markersize": 3, "capsize": 2}
    panel.errorbar(
        [row["d"] for row in rows], means, yerr=standard_errors, linewidth=1.2, label=method, **style
    )


@mpl.rc_context(STYLE)
def draw_coverage(rows: list[Row]) -> Figure:
    """Draw coverage ± standard error, and the remaining bias in standard deviations of the estimate."""
    figure = Figure(figsize=(9.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    ticks = np.arange(len(FIELDS))
    for i, method in enumerate(methods):
        by_field = {row["field"]: row for row in rows if row["method"] == method}
        x = ticks + 0.24 * (i - (len(methods) - 1) / 2)
        style: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2, "color": COLORS[method]}
        share, error = (
            np.array([100 * by_field[field][name] for field in FIELDS]) for name in ("coverage", "error")
        )
        left.errorbar(x, share, yerr=error, label=method, **style)
        bias = [by_field[field]["bias"] / by_field[field]["sd"] for field in FIELDS]
        right.errorbar(x, bias, yerr=[by_field[field]["count"] ** -0.5 for field in FIELDS], **style)
    left.axhline(100 * rows[0]["level"], color="0.5", linewidth=1, linestyle="--", label="nominal")
    right.axhline(0, color="0.5", linewidth=1)
    left.set(title=f"coverage of {rows[0]['count']} intervals", ylabel="%", ylim=(None, 101))
    right.set(title="remaining bias", ylabel="standard deviations of the estimate")
    for panel in (left, right):
        panel.set_xticks(ticks, [SYMBOLS[field] for field in FIELDS])
    figure.legend(loc="outside lower center", ncols=len(methods) + 1, title="bars: ± one standard error")
    return figure


@mpl.rc_context(STYLE)
def draw_flow(rows: list[Row]) -> Figure:
    """Draw stacked atoms of the truth and of every method, for both kinds of data.

    With several seeds the bars are means, and a whisker at the top of each atom is the range over the seeds.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(4.2 * len(cases) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for panel, case in zip(panels, cases, strict=True):
        case_rows = [row for row in rows if row["case"] == case]
        methods = dict.fromkeys(row["method"] for row in case_rows)
        stacks = {"truth": [row["truth"] for row in case_rows]}
        stacks |= {
            method: [row["found"] for row in case_rows if row["method"] == method] for method in methods
        }
        bottom = np.zeros(len(stacks))
        for index, atom in enumerate(ATOMS):
            values = [np.array([row[atom] for row in rows_of_bar]) for rows_of_bar in stacks.values()]
            heights = np.array([v.mean() for v in values])
            style: dict[str, Any] = {"color": SERIES_STYLE[atom].color, "alpha": 0.8, "width": 0.7}
            panel.bar(
                list(stacks), heights, bottom=bottom, label=SERIES_STYLE[atom].label_for(("x", "y")), **style
            )
            for x, (v, start) in enumerate(zip(values, bottom, strict=True)):
                if np.ptp(v) > 0:
                    place = x + 0.16 * (index - 1.5)
                    panel.plot((place, place), (start + v.min(), start + v.max()), color="k", linewidth=1)
            bottom = bottom + heights
        panel.set(title=f"{case} warp, n = {case_rows[0]['n']}")
    panels[0].set_ylabel("information on the target, bits")
    handles, labels = panels[0].get_legend_handles_labels()
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    figure.legend(handles[::-1], labels[::-1], loc="outside right center")
    figure.suptitle(f"synthetic data; {seeds_label(seeds)}")
    return figure


@mpl.rc_context(STYLE)
def draw_verdicts(counts: list[Row]) -> Figure:
    """Draw the shares of the verdicts on every situation as stacked bars, sound situations on the left."""
    figure = Figure(figsize=(12.4, 0.2 * len(counts) / 2 + 1.4), layout="constrained")
    for panel, sound in zip(figure.subplots(1, 2), (True, False), strict=True):
        rows = [row for row in counts if (row["kind"] == "sound") == sound][::-1]
        start = np.zeros(len(rows))
        for verdict, color in VERDICT_COLORS.items():
            shares = np.array([100 * row["shares"][verdict] for row in rows])
            panel.barh([row["situation"] for row in rows], shares, left=start, color=color, label=verdict)
            start = start + shares
        panel.set(title="sound" if sound else "unsound", xlabel="% of the data sets", xlim=(0, 100))
        panel.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    handles = [Patch(color=color, label=verdict) for verdict, color in VERDICT_COLORS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="verdict")
    return figure
