"""Samples of a data set as a picture: square images, or lines of text and symbols."""

import math
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.data.arrays import Split
from experiments.data.arrays.store import NO_LABEL
from experiments.data.data_catalog import Kind
from experiments.run.figures import STYLE, without_math

LINES, COLUMNS = 6, 110
"""Most lines of a sample, and characters of a line."""
LINE_HEIGHT, MARGIN = 0.125, 0.5
"""Height of a line of text, and of the title above the samples, in inches."""


def sample_text(split: Split, row: int) -> str:
    """Return a sample as text: its symbols or its bytes, and `→ label` behind a token that has one.

    Args:
        split: the split.
        row: number of the example.

    Returns:
        One line for a sequence, two for a pair of sequences.
    """
    sequences, lengths = np.atleast_2d(split.tokens[row]), np.atleast_1d(split.lengths[row])
    labels = split.labels[row] if split.labels.ndim > 1 and split.classes else None
    return "\n".join(
        _text(split, tokens[:length], labels) for tokens, length in zip(sequences, lengths, strict=True)
    )


def _text(split: Split, tokens: np.ndarray, labels: np.ndarray | None) -> str:
    if split.first_id:
        text = bytes(tokens).decode("utf-8", "replace")
        return "".join(character if character.isprintable() else " " for character in text)
    words = [split.vocabulary[token] for token in tokens]
    if labels is None:
        return " ".join(words)
    return " ".join(
        word if label == NO_LABEL else f"{word} → {split.vocabulary[label]}"
        for word, label in zip(words, labels, strict=False)
    )


def label_text(split: Split, row: int) -> str:
    """Return the label of an example as text, empty for labels of tokens, which stand in its text."""
    return "" if split.labels.ndim > 1 else f"label {split.labels[row]}"


def draw_samples(split: Split, kind: Kind, count: int, title: str) -> Figure:
    """Draw the first samples of a split.

    Args:
        split: the split.
        kind: whether samples are images.
        count: number of samples, at most those that there are.
        title: title of the figure.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        rows = range(min(count, len(split.labels)))
        figure = _draw_images(split, rows) if kind == "image" else _draw_lines(split, rows)
        figure.suptitle(without_math(title))
    return figure


def _draw_images(split: Split, rows: range) -> Figure:
    side, columns = math.isqrt(split.tokens.shape[-1]), math.ceil(math.sqrt(len(rows)))
    lines = math.ceil(len(rows) / columns)
    figure = Figure(figsize=(1.6 * columns, 1.8 * lines + 0.5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(lines, columns, squeeze=False)).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, row in zip(panels, rows, strict=False):
        panel.imshow(split.tokens[row].reshape(side, side), cmap="gray", vmin=0, vmax=255)
        panel.set_title(label_text(split, row))
    return figure


def _draw_lines(split: Split, rows: range) -> Figure:
    samples = []
    for row in rows:
        lines = []
        for number, text in enumerate(sample_text(split, row).splitlines(), start=1):
            start = f"{number}. " if split.lengths.ndim > 1 else ""
            lines += textwrap.wrap(
                text,
                COLUMNS,
                initial_indent=start,
                max_lines=LINES,
                placeholder=" …",
                break_on_hyphens=False,
            )
        label = label_text(split, row)
        samples.append([label, *lines] if label else lines)
    height = LINE_HEIGHT * sum(len(lines) + 1 for lines in samples) + MARGIN
    figure = Figure(figsize=(9, height))
    text = "\n\n".join("\n".join(map(without_math, lines)) for lines in samples)
    figure.text(0.02, 1 - MARGIN / height, text, va="top", family="monospace", fontsize=7)
    return figure
