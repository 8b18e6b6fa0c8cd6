"""Attention evolved by a PDE against plain attention: folded into attention, and on the materialized matrix."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from jax import Array
from matplotlib.figure import Figure

from experiments.bench.config import Config
from experiments.bench.timing import Paired, Row, paired, temporaries
from experiments.run.figures import COLORS
from pdeformer import Diffusion, pde_attention

FOLDED, MATRIX = "folded", "matrix"
MAX_UNLIMITED = 8192  # tokens up to which forward rows have no time limit


def evolved_rows(config: Config) -> Iterator[Row]:
    """Time folded and matrix form against plain attention for every length, causal and not, forward and backward."""
    size = config.attention
    for tokens in config.lengths:
        shape = (size.batch, tokens, size.heads, size.width)
        arrays = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 4)]
        for causal in (False, True):
            kind = "causal" if causal else "plain"
            for direction, program in (("forward", _forward), ("fwd + bwd", _forward_backward)):
                plain, folded, matrix = (partial(program, f) for f in _forms(config.steps, causal=causal))
                is_unlimited = direction == "forward" and tokens <= MAX_UNLIMITED
                limit = math.inf if is_unlimited else config.seconds
                timed = partial(paired, pairs=config.pairs, seconds=limit)
                yield Row(f"{FOLDED}, T={tokens}, {kind}, {direction}", timed(folded, plain, *arrays))
                if direction == "forward":
                    name = f"{MATRIX}, T={tokens}, {kind}, {direction}"
                    small = tokens <= config.largest_matrix
                    yield Row(
                        name, timed(matrix, plain, *arrays) if small else _planned(matrix, plain, arrays)
                    )


def _forms(steps: int, *, causal: bool) -> Iterator[Callable]:
    """Yield plain, folded and materialized attention."""
    forms: tuple[tuple[Any, Any], ...] = (
        (None, "auto"),
        (Diffusion(0.1), "folded"),
        (Diffusion(0.1), "materialized"),
    )
    for pde, method in forms:
        yield partial(pde_attention, pde=pde, steps=steps, is_causal=causal, method=method)


def _forward(attend: Callable, query: Array, key: Array, value: Array, weight: Array) -> Array:
    del weight  # only the backward pass needs the cotangent
    return attend(query, key, value)


def _forward_backward(attend: Callable, query: Array, key: Array, value: Array, weight: Array) -> Any:
    output, pull = jax.vjp(attend, query, key, value)
    return output, pull(weight)


def _planned(first: Callable, second: Callable, arrays: list) -> Paired:
    """Return only the planned memory, for a program that is too large to run."""
    ours, theirs = (temporaries(jax.jit(f).lower(*arrays).compile()) for f in (first, second))
    return Paired(float("nan"), float("nan"), float("nan"), ours, theirs, 0)


def draw_evolved(rows: list[Row]) -> Figure:
    """Draw time relative to plain attention, and temporaries, against the number of tokens."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines: dict[tuple[str, str, str], list[tuple[int, Paired]]] = {}
    for case, result in rows:
        form, tokens, kind, direction = case.split(", ")
        lines.setdefault((form, kind, direction), []).append((int(tokens.removeprefix("T=")), result))
    for (form, kind, direction), points in lines.items():
        tokens = [t for t, _ in points]
        style: dict[str, Any] = {"color": COLORS[kind != "plain"], "marker": "s" if form == MATRIX else "o"}
        style |= {
            "linestyle": "-" if direction == "forward" else "--",
            "label": f"{form.split()[0]}, {kind}, {direction}",
        }
        left.plot(tokens, [1 / r.ratio for _, r in points], **style)
        ends = ([1 / r.ratio_high for _, r in points], [1 / r.ratio_low for _, r in points])
        left.vlines(tokens, *ends, color=style["color"], linewidth=1)
        right.plot(tokens, [r.first_bytes / 2**20 for _, r in points], **style)
    left.axhline(1, color="0.6", linewidth=0.8)
    left.set(title="time relative to plain attention, bars: 95 % intervals", ylabel="ratio", yscale="log")
    right.set(title="temporaries", ylabel="MiB", yscale="log")
    for axes in (left, right):
        axes.set(xlabel="tokens T", xscale="log")
        axes.grid(alpha=0.3)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=4)
    return figure
