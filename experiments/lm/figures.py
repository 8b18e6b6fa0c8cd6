"""Figures of a run: what a token costs against its context, and the ablations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from experiments import run
from experiments.lm.cells import Cell
from experiments.lm.report import Line, ScoresOfTrainings
from experiments.run.figures import STYLE, draw_band, label_log_axis, save, seeds_label, series_style

BINS = 12


def position_bins(length: int, count: int = BINS) -> Int[np.ndarray, " edges"]:
    """Return the edges of bins of positions, from 0 to T, whose widths grow by about the same factor.

    Args:
        length: number of positions T.
        count: number of bins, at most; narrow ones at the start are one position wide.
    """
    edges = np.unique(np.rint(np.geomspace(1, length, count + 1)).astype(int))
    return np.concatenate([[0], edges])


def binned(curve: Float[np.ndarray, " t"]) -> Float[np.ndarray, " bins"]:
    """Return the means of a curve over the bins of its positions."""
    edges = position_bins(len(curve))
    return np.add.reduceat(curve, edges[:-1]) / np.diff(edges)


def draw_context(
    folder: run.Run, cells: Sequence[Cell], seeds: Sequence[int], scores: ScoresOfTrainings, title: str
) -> Path:
    """Write `context.png`: nats against the number of tokens before the predicted one, and the baseline subtracted.

    The panels are those of the longest blocks on the largest share of the text.
    """
    length, share = max((cell.length, cell.share) for cell in cells)
    longest = [cell for cell in cells if (cell.length, cell.share) == (length, share)]
    edges = position_bins(length)
    middle = np.sqrt((edges[:-1] + 1) * edges[1:])  # of the numbers of tokens that are read, 1 to T
    curves = {
        cell.name: np.array([binned(scores[cell.name, seed].position) for seed in seeds]) for cell in longest
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        nats, difference = figure.subplots(1, 2)
        for index, cell in enumerate(longest):
            style = {**series_style(index), "marker": "."}
            draw_band(nats, middle, curves[cell.name], singles=False, label=cell.variant, **style)
            if cell.name != cell.baseline:
                draw_band(
                    difference, middle, curves[cell.name] - curves[cell.baseline], singles=False, **style
                )
        difference.axhline(0, color="0.55", linewidth=1, zorder=0)
        nats.set(title="next token, test text", ylabel="nats per token")
        difference.set(title="minus the baseline; below 0 is better", ylabel="difference in nats")
        for panel in (nats, difference):
            panel.set(xscale="log", xlabel="tokens that are read, the last one included")
            label_log_axis(panel.xaxis)
        columns = min(4, len(longest))
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, title=seeds_label(seeds))
        return save(figure, folder.folder, "context", title=title)


def draw_ablation(folder: run.Run, cells: Sequence[Cell], lines: Sequence[Line], title: str) -> Path | None:
    """Write `ablation.png`: bits per byte against the length or the share of the text; None if there is one of each."""
    lengths, shares = ({getattr(cell, name) for cell in cells} for name in ("length", "share"))
    if len(lengths) == len(shares) == 1:
        return None
    by_length = len(lengths) > 1
    values = {cell.name: line for cell, line in zip(cells, lines, strict=True)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        bits, difference = figure.subplots(1, 2)
        series = _series(cells, by_length=by_length)
        for index, (variant, share) in enumerate(series):
            own = [
                cell for cell in cells if (cell.variant, cell.share if by_length else 0) == (variant, share)
            ]
            x = [cell.length if by_length else 100 * cell.share for cell in own]
            rows = [values[cell.name] for cell in own]
            style = {**series_style(index), "marker": "."}
            label = f"{variant}, {100 * share:g} %" if by_length and len(shares) > 1 else variant
            bits.plot(x, [row.bits for row in rows], label=label, **style)
            if own[0].name != own[0].baseline:
                ends = np.array([[row.difference.value - row.difference.low] * 2 for row in rows]).T
                beside = np.array(x) * 1.015 ** (index - len(series) / 2)  # so that no bar covers another one
                difference.errorbar(
                    beside, [row.difference.value for row in rows], yerr=ends, capsize=3, **style
                )
        difference.axhline(0, color="0.55", linewidth=1, zorder=0)
        bits.set(title="test text", ylabel="bits per byte")
        difference.set(
            title="minus the baseline, 95 % interval; below 0 is better", ylabel="difference in bits per byte"
        )
        for panel in (bits, difference):
            panel.set(
                xscale="log", xlabel="tokens of a block" if by_length else "share of the training text (%)"
            )
            label_log_axis(panel.xaxis, sorted(lengths) if by_length else [100 * x for x in sorted(shares)])
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return save(figure, folder.folder, "ablation", title=title)


def _series(cells: Sequence[Cell], *, by_length: bool) -> list[tuple[str, float]]:
    """Return the curves of the ablation: variants, for each share if lengths are the abscissa."""
    return list(dict.fromkeys((cell.variant, cell.share if by_length else 0) for cell in cells))


def draw_padding(
    folder: run.Run, rows: Sequence, causal: Mapping[int, tuple[str, float, float]], title: str
) -> Path:
    """Write `padding.png`: perplexity per token against the length to which lines are padded.

    Args:
        folder: the run.
        rows: perplexities of the official models, see `padding.pattern`.
        causal: length -> name of a causal variant, and the perplexities of the causal baseline and of it.
        title: which run the figure belongs to.
    """
    x = [row.length for row in rows]
    series = {
        "baseline, PAD counted, states at PAD 0 (published)": [row.baseline for row in rows],
        "PDE, PAD counted (published)": [row.pde for row in rows],
        "the same baseline, its own states at PAD": [row.same_weights for row in rows],
        "baseline, without PAD": [row.honest_baseline for row in rows],
        "PDE, without PAD": [row.honest_pde for row in rows],
    }
    if causal:
        series["causal baseline, blocks"] = [causal[length][1] for length in x]
        series[f"causal {next(iter(causal.values()))[0]}, blocks"] = [causal[length][2] for length in x]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        panel = figure.subplots()
        for index, (label, values) in enumerate(series.items()):
            panel.plot(x, values, label=label, marker=".", **series_style(index))
        panel.set(xscale="log", yscale="log", xlabel="length", ylabel="perplexity per token")
        label_log_axis(panel.xaxis, x)
        label_log_axis(panel.yaxis)
        figure.legend(loc="outside right center", frameon=False)
        return save(figure, folder.folder, "padding", title=title)
