"""Time two programs against each other, and read their planned memory and what they have to do at least."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.roofline import matrix_flops

MIN_PAIRS = 2  # also beyond the time limit


class Paired(NamedTuple):
    """Medians over the pairs."""

    first_ms: float
    second_ms: float
    ratio: float  # second / first of the same pair: how many times faster the first is
    first_bytes: int  # temporaries
    second_bytes: int
    pairs: int
    ratio_low: float = math.nan  # 95 % interval of the median ratio over the pairs
    ratio_high: float = math.nan
    first_flops: dict[str, float] | None = None
    """Operations of the matrix products of the first program by kind; None if it is not one compiled program."""
    first_least_bytes: int = 0
    """Bytes of the arguments and results of the first program."""


class Row(NamedTuple):
    """One line of a section: our implementation against the plain one."""

    case: str
    result: Paired


def paired(first: Callable, second: Callable, *args, pairs: int = 20, seconds: float = math.inf) -> Paired:
    """Compile two functions for `args`, warm them up, and time an even number of pairs in the order A B, B A, ..."""
    traced = [jax.jit(f).trace(*args) for f in (first, second)]
    programs = [trace.lower().compile() for trace in traced]
    calls = [lambda p=program: jax.block_until_ready(p(*args)) for program in programs]
    first_bytes, second_bytes = (temporaries(program) for program in programs)
    timed = paired_calls(calls[0], calls[1], pairs=pairs, seconds=seconds)
    plan: Any = programs[0].memory_analysis()
    return timed._replace(
        first_bytes=first_bytes,
        second_bytes=second_bytes,
        first_flops=dict(matrix_flops(traced[0].jaxpr)),
        first_least_bytes=plan.argument_size_in_bytes + plan.output_size_in_bytes,
    )


def paired_calls(
    first: Callable[[], Any],
    second: Callable[[], Any],
    *,
    per: tuple[float, float] = (1, 1),
    pairs: int = 20,
    seconds: float = math.inf,
) -> Paired:
    """Time two synchronous calls in pairs. `per` is the number of items that each call computes."""
    calls = (first, second)
    for call in calls:
        call()
    times, start = [], time.perf_counter()
    while len(times) < pairs and (len(times) < MIN_PAIRS or time.perf_counter() - start < seconds):
        times += [_time_pair(calls, swap=swap) for swap in (False, True)]
    times = np.array(times) / per
    ours, theirs = np.median(times, axis=0)
    ratios = times[:, 1] / times[:, 0]
    return Paired(
        float(ours), float(theirs), float(np.median(ratios)), 0, 0, len(times), *median_interval(ratios)
    )


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a median between two order statistics (sign test); NaN if there are too few values."""
    n, ordered = len(values), np.sort(values)
    tails = [math.fsum(math.comb(n, j) for j in range(k)) / 2**n for k in range(1, n // 2 + 1)]
    inside = [k for k, tail in enumerate(tails, 1) if 2 * tail <= 1 - level]
    return (
        (float(ordered[inside[-1] - 1]), float(ordered[n - inside[-1]])) if inside else (math.nan, math.nan)
    )


def _time_pair(calls: tuple[Callable, Callable], *, swap: bool) -> tuple[float, float]:
    milliseconds = [0.0, 0.0]
    for i in (1, 0) if swap else (0, 1):
        start = time.perf_counter()
        calls[i]()
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
    return milliseconds[0], milliseconds[1]


def temporaries(program: Any) -> int:
    """Return the bytes of memory that a compiled program plans besides arguments and results."""
    return program.memory_analysis().temp_size_in_bytes
