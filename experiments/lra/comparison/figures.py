"""Figure of a run: learning curves, with the accuracies of predictors without a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments import run
from experiments.lra.comparison.report import BASELINE_LABELS
from experiments.run.figures import (
    STYLE,
    draw_band,
    save,
    seeds_label,
    series_style,
    smooth,
    smoothing_window,
)

Curve = tuple[Float[np.ndarray, " x"], Float[np.ndarray, "seed x"]]
"""Steps, and one row of values per seed."""
MAX_SINGLES = 4  # with more variants, the lines of single seeds would hide each other
NEAR = 0.045  # shares of the height of a panel, between two labels beside it


def draw_curves(
    folder: run.Run, results: Sequence[run.Result], baselines: Mapping[str, float], title: str
) -> Path:
    """Write `curves.png`: training loss and validation accuracy, mean and range over the seeds of every variant.

    Each horizontal line is the accuracy of a predictor without a model.
    """
    variants = list(dict.fromkeys(result.variant for result in results))
    seeds = list(dict.fromkeys(result.seed for result in results))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        singles = len(variants) <= MAX_SINGLES
        for index, variant in enumerate(variants):
            rows = [result for result in results if result.variant == variant]
            records = [folder.records(variant, result.seed) for result in rows]
            style = series_style(index)
            window = _draw_loss(loss, records, style, singles=singles)
            steps, values = _curve(records, "val_accuracy")
            marks: dict[str, Any] = {"marker": ".", "linewidth": 1.5, "label": variant, **style}
            draw_band(accuracy, steps, 100 * values, singles=singles, **marks)
            test = 100 * np.mean([result.test_accuracy for result in rows])
            accuracy.plot(
                rows[0].steps, test, marker="D", color=style["color"], markersize=5, clip_on=False, zorder=4
            )
        _draw_baselines(accuracy, baselines)
        smoothing = "" if window < 3 else f", centered mean of {window} logged values"
        loss.set(title=f"training loss{smoothing}", xlabel="step", ylabel="loss (nats)", xlim=(0, None))
        accuracy.set(
            title="validation; diamond: test after the last step", xlabel="step", ylabel="accuracy (%)"
        )
        accuracy.set(xlim=(0, None), ylim=(0, None))
        for panel in (loss, accuracy):
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = accuracy.get_legend_handles_labels()
        columns = min(len(labels), max(1, 120 // (6 + max(map(len, labels)))))
        figure.legend(
            handles,
            labels,
            frameon=False,
            loc="outside lower center",
            ncols=columns,
            title=seeds_label(seeds, singles=singles),
        )
        return save(figure, folder.folder, "curves", title=title)


def _curve(records: Sequence[Sequence[Mapping[str, Any]]], name: str) -> Curve:
    """Return the values of all seeds at the steps that every seed has logged."""
    by_step = [{r["step"]: r[name] for r in rows if name in r} for rows in records]
    steps = sorted(set.intersection(*(set(values) for values in by_step)))
    return np.array(steps, float), np.array([[values[step] for step in steps] for values in by_step])


def _draw_loss(
    panel: Any, records: Sequence[Sequence[Mapping[str, Any]]], style: dict[str, Any], *, singles: bool
) -> int:
    """Draw the smoothed loss, and for a single seed the values themselves; return the window."""
    steps, values = _curve(records, "loss")
    window = smoothing_window(len(steps))
    if len(values) == 1 and window > 1:
        panel.plot(steps, values[0], color=style["color"], alpha=0.2, linewidth=0.6)
    whole = slice(
        window // 4, len(steps) - window // 4
    )  # the window is short at the ends, and its mean noisy
    draw_band(panel, steps[whole], smooth(values, window)[:, whole], singles=singles, linewidth=1.5, **style)
    return window


def _draw_baselines(panel: Any, baselines: Mapping[str, float]) -> None:
    """Draw a line for each predictor, with its label to the right of the panel; labels keep a distance."""
    top = max([panel.get_ylim()[1], *(105 * value for value in baselines.values())])
    panel.set_ylim(0, top)
    place = -1.0
    for name, value in sorted(baselines.items(), key=lambda item: item[1]):
        panel.axhline(100 * value, color="0.55", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        place = max(100 * value / top, place + NEAR)
        text = f" {BASELINE_LABELS.get(name, name)} {100 * value:.1f}"
        panel.annotate(text, (1, place), xycoords="axes fraction", va="center", color="0.35", fontsize=8)
