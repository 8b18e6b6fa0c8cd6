"""Figure of a run: test accuracies of all variants of every task, with the bag of words as a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments import run
from experiments.run.figures import STYLE, save, series_style
from experiments.text.result_tables import GroupResult


def draw_accuracies(
    folder: run.Run,
    groups: Sequence[GroupResult],
    floors: Mapping[str, Mapping[str, float]],
    results: Mapping[str, Sequence[run.Result]],
    title: str,
) -> Path:
    """Write `accuracies.png`: a dot for every seed and a diamond for the mean of the weights selected on validation.

    Args:
        folder: the run folder.
        groups: the results of every group, whose order the rows have.
        floors: task -> accuracies without a model.
        results: task -> results of its variants.
        title: which run it is.
    """
    tasks = list(dict.fromkeys(result.task for result in groups))
    rows = {
        task: [line for result in groups if result.task == task for line in result.lines] for task in tasks
    }
    height = 1.2 + 0.3 * sum(len(lines) for lines in rows.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, max(2.6, height)), layout="constrained")
        ratios = [len(lines) + 0.5 for lines in rows.values()]
        panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for panel, (task, lines) in zip(panels, rows.items(), strict=True):
            for place, line in enumerate(lines):
                color = series_style(place)["color"]
                values = [100 * r.best_test_accuracy for r in results[task] if r.variant == line.variant]
                panel.plot(values, [place] * len(values), "o", color=color, markersize=3, alpha=0.6)
                panel.plot(100 * line.best, place, "D", color=color, markersize=6)
            for name, style in (("majority class", ":"), ("bag of words", "--")):
                panel.axvline(100 * floors[task][name], color="0.4", linestyle=style, linewidth=1, label=name)
            panel.set_yticks(range(len(lines)), [line.variant for line in lines])
            panel.set_ylim(len(lines) - 0.5, -0.5)
            panel.set_title(task, loc="left", fontsize=9)
        panels[-1].set_xlabel("test accuracy (%), weights selected on validation")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)
        return save(figure, folder.folder, "accuracies", title=title)
