"""Figure of a suite: test accuracies of all variants, a panel for each task."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.lra.suite.suite_table import TaskResult
from experiments.run.figures import STYLE, save, series_style

COLUMNS = 4


def draw_suite(folder: Path, results: Sequence[TaskResult], title: str) -> Path:
    """Write `suite.png`: a point for each variant, and lines for the predictors without a model.

    Bars are the larger of the standard deviation over seeds and the binomial standard error of the test set.
    """
    variants = list(dict.fromkeys(line.variant for result in results for line in result.lines))
    columns = min(COLUMNS, len(results))
    rows = -(-len(results) // columns)
    with mpl.rc_context(STYLE):
        height = 1.0 + 0.24 * len(variants)
        figure = Figure(figsize=(3.4 * columns, height * rows + 0.8), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for ax in axes.flat[len(results) :]:
            ax.set_visible(False)
        for ax, result in zip(axes.flat, results, strict=False):
            for line in result.lines:
                place = variants.index(line.variant)
                error = 100 * np.nanmax([line.sd, line.se])
                ax.errorbar(100 * line.test, place, xerr=error, fmt="o", markersize=4, **series_style(place))
            for value in result.floors.values():
                ax.axvline(100 * value, color="0.55", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            ax.set(title=result.title, xlabel="test accuracy (%)")
        axes[0, 0].set_yticks(range(len(variants)), variants)
        axes[0, 0].invert_yaxis()
        figure.suptitle("dashed: predictors without a model", fontsize=9)
        return save(figure, folder, "suite", title=title)
