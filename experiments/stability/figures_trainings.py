"""Figures of the section training: curves of loss and gradient norm, and the map of the final loss."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from experiments.run.figures import NamedFigure, draw_band, seeds_label, series_style
from experiments.stability.measurements.initialization import RESIDUALS
from experiments.stability.measurements.random_networks import NORMS
from experiments.stability.measurements.trainability import Setting, TrainingResult, Trainings

QUANTITIES = {
    "loss": ("loss (nats)", "linear"),
    "gradient": ("gradient norm before clipping", "log"),
}
"""Quantity of every step -> label and scale of its axis."""


def draw_training(result: TrainingResult) -> Iterator[NamedFigure]:
    """Draw loss and gradient norm by step for the smallest and the largest gain, and the stability map."""
    for name in QUANTITIES:
        yield f"training_{name}", _draw_curves(result, name)
    yield "training_map", _draw_map(result)


def label_of(setting: Setting) -> str:
    """Return the text of a setting in a legend."""
    if setting.splitting == "parallel":
        return f"pre-LN, order {setting.order}, parallel"
    return f"norm {setting.norm}, residual {'on' if setting.residual else 'off'}"


def _draw_curves(result: TrainingResult, name: str) -> Figure:
    """Draw a row of panels for every depth of the recall task, by gain, and the panel of ListOps."""
    recall, listops = result.recall, result.listops
    panels = [(recall, depth, gain) for depth in recall.depths for gain in recall.gains]
    panels.append((listops, listops.depths[0], listops.gains[0]))
    columns = min(len(panels), len(recall.gains) + 1) if len(recall.depths) == 1 else len(recall.gains)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows + 1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = {label: index for index, label in enumerate(dict.fromkeys(map(label_of, recall.settings)))}
    lines = {}
    for axis, (trainings, depth, gain) in zip(axes, panels, strict=False):
        for setting in trainings.settings:
            if (setting.depth, setting.gain) == (depth, gain):
                label = label_of(setting)
                _draw_curve(axis, trainings, name, setting, colors[label])
                lines[label] = axis.lines[-1]
        if name == "loss":
            chance = float(np.mean(trainings.chance.loss))
            axis.axhline(chance, color="0.5", linewidth=0.8, linestyle=":")
            axis.set_ylim(0, 2 * chance)
        title = f"{trainings.task}, {depth} layers, gain {gain:.3g}"
        axis.set(title=title, xlabel="step", ylabel=QUANTITIES[name][0], yscale=QUANTITIES[name][1])
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4)
    gaps = "dotted: loss of a guess; " if name == "loss" else ""
    figure.suptitle(f"{gaps}{seeds_label(result.seeds)}; a curve ends where a run is not finite")
    return figure


def _draw_curve(axis, trainings: Trainings, name: str, setting: Setting, color: int) -> None:
    values = trainings.at(name, setting)
    if QUANTITIES[name][1] == "log":
        values = np.where(values > 0, values, np.nan)
    draw_band(axis, np.arange(values.shape[-1]), values, singles=False, **series_style(color))


def _draw_map(result: TrainingResult) -> Figure:
    """Draw the final loss over gain and depth, for every norm and residual."""
    recall = result.recall
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots(len(RESIDUALS), len(NORMS), sharex=True, sharey=True, squeeze=False)
    chance, image = float(np.mean(recall.chance.loss)), None
    for (row, column), axis in np.ndenumerate(axes):
        residual, norm = RESIDUALS[row], NORMS[column]
        losses = [
            [recall.final("loss", recall.setting(norm, residual, gain, depth)) for depth in recall.depths]
            for gain in recall.gains
        ]
        values = np.array(losses).mean(-1)
        image = axis.imshow(values, cmap="viridis_r", vmin=0, vmax=chance, aspect="auto", origin="lower")
        for (i, j), value in np.ndenumerate(values):
            broken = int(np.sum(~np.isfinite(losses[i][j])))
            text = f"not finite in\n{broken} of {len(result.seeds)} seeds" if broken else f"{value:.3g}"
            is_dark = not broken and value > chance / 2
            axis.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if is_dark else "black")
        axis.set(title=f"norm {norm}, residual {'on' if residual else 'off'}")
        axis.set_xticks(range(len(recall.depths)), list(map(str, recall.depths)))
        axis.set_yticks(range(len(recall.gains)), [f"{gain:.3g}" for gain in recall.gains])
        if row == len(RESIDUALS) - 1:
            axis.set_xlabel("layers")
        if column == 0:
            axis.set_ylabel("gain")
    assert image is not None
    figure.colorbar(image, ax=axes, label="final loss (nats)", extend="max")
    figure.suptitle(f"{recall.task}, loss by chance {chance:.3g}; mean of {len(result.seeds)} seeds")
    return figure
