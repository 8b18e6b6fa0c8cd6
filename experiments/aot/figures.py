"""Figures: the roofline of every chip with the compiled programs on it, and memory against the number of tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.roofline import CHIPS
from experiments.run.figures import COLORS, series_style

Row = dict[str, Any]
MARKERS = {"evolve": "o", "attention": "s", "training": "^", "sequence": "D", "llava": "v"}


def draw_roofline(rows: Sequence[Row]) -> Figure | None:
    """Draw operations per second against operations per byte moved, one panel for each chip; None without products."""
    drawn = [row for row in rows if row["status"] == "compiled" and row["flops"]]
    chips = [name for name in CHIPS if any(row["chip"] == name for row in drawn)]
    if not chips:
        return None
    figure = Figure(figsize=(3.6 * len(chips) + 0.6, 3.8), layout="constrained")
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(chips))), chips, strict=True):
        chip = CHIPS[name]
        intensity = np.geomspace(0.1, 1e5, 200)
        panel.plot(intensity, np.minimum(chip.flops, intensity * chip.bandwidth) / 1e12, color="0.4")
        for group, marker in MARKERS.items():
            points = [row for row in drawn if row["chip"] == name and row["group"] == group]
            x = [row["flops"] / row["moved_bytes"] for row in points]
            y = [row["flops"] / row["expected_ms"] / 1e9 for row in points]
            color = COLORS[list(MARKERS).index(group)]
            panel.scatter(x, y, marker=marker, s=18, color=color, label=group if points else None)
        panel.set(title=name, xscale="log", yscale="log", xlabel="operations per byte moved")
        panel.legend(fontsize=7, loc="lower right")
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("T operations per second, expected")
    figure.suptitle("roofline in bfloat16, per device; nothing ran")
    return figure


def draw_memory(rows: Sequence[Row]) -> Figure | None:
    """Draw the temporaries against the number of tokens; None without programs of several lengths."""
    drawn = [row for row in rows if row["status"] == "compiled" and row["tokens"]]
    chips = [name for name in CHIPS if any(row["chip"] == name for row in drawn)]
    if not chips:
        return None
    figure = Figure(figsize=(4.2 * len(chips) + 0.6, 4.2), layout="constrained")
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(chips))), chips, strict=True):
        series: dict[str, list[tuple[int, float]]] = {}
        for row in drawn:
            if row["chip"] == name:
                label = row["program"].replace(f", T={row['tokens']}", "")
                series.setdefault(label, []).append((row["tokens"], row["temporary_bytes"] / 2**20))
        for index, (label, points) in enumerate(series.items()):
            tokens, memory = zip(*sorted(points), strict=True)
            panel.plot(tokens, np.maximum(memory, 0.1), marker="o", label=label, **series_style(index))
        panel.axhline(CHIPS[name].memory / 2**20, color="0.4", linewidth=0.8)
        panel.set(title=name, xscale="log", yscale="log", xlabel="tokens T", ylabel="temporaries, MiB")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.suptitle("temporaries of attention, 8 heads of 64, bfloat16; gray: memory of the chip")
    return figure
