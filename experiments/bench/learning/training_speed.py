"""Training steps of the two-layer Transformer against those in plain Flax: time, temporaries and compilation."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from experiments.bench.config import Config
from experiments.bench.learning.plain_classifier import make_plain_training, plain_parameters
from experiments.bench.learning.two_layer import (
    OPTIMIZER,
    RATE,
    full_rows,
    listops_rows,
    make_training,
    on_device,
    two_layer,
)
from experiments.bench.timing import Paired, Row, paired_calls, temporaries
from experiments.data import arrays

PATIENCE = 3
"""Times the time limit of a row, because steps are long."""
COMPILATIONS = 2
"""Number of times that each step is compiled, in alternating order."""


class Case(NamedTuple):
    """A training step that both programs run."""

    title: str
    """Name in the table."""
    batch: arrays.Batch
    """The batch."""
    dropout: float = 0.0
    """Dropout rate."""
    dropout_per_head: bool = False
    """Whether plain Flax draws a mask of attention weights for each example and head."""


class Stepper:
    """A compiled training step with its state, which each call replaces."""

    def __init__(self, program: Any, state: Any, *inputs: Any) -> None:
        """Take the program `(state, *inputs) -> (state, ...)`, which may donate its state."""
        self.program, self.state, self.inputs = program, state, inputs

    def __call__(self) -> Any:
        """Run one step, wait for it, and return its other results."""
        self.state, results = self.program(self.state, *self.inputs)
        jax.block_until_ready(self.state)
        return results


def training_rows(config: Config) -> Iterator[Row]:
    """Time a training step for every length, with and without dropout and padding, and compile it."""
    size = config.training
    for tokens in size.lengths:
        cases = cases_of(size.batch, tokens)
        for case in cases:
            ours, plain = (program.stepper() for program in programs_of(case))
            timed = paired_calls(ours, plain, pairs=config.pairs, seconds=PATIENCE * config.seconds)
            sizes = {"first_bytes": temporaries(ours.program), "second_bytes": temporaries(plain.program)}
            yield Row(f"T={tokens}, {case.title}", timed._replace(**sizes))
        yield Row(f"T={tokens}, {cases[0].title}, compilation", compilation(*programs_of(cases[0])))


def cases_of(batch: int, tokens: int) -> list[Case]:
    """Return the cases of one length, that of the benchmark first."""
    sequences, full = listops_rows(batch, tokens), full_rows(batch, tokens)
    return [
        Case("ListOps", sequences, RATE),
        Case("ListOps, plain masks per head", sequences, RATE, dropout_per_head=True),
        Case("ListOps, no dropout", sequences),
        Case("full rows", full, RATE),
        Case("full rows, no dropout", full),
    ]


class Lowerable(NamedTuple):
    """A jitted training step and its arguments."""

    make: Callable[[], Any]
    """Makes the jitted function afresh."""
    arguments: tuple[Any, ...]
    """State, batch and key."""

    def compile(self) -> Any:
        """Trace and compile the step."""
        return self.make().lower(*self.arguments).compile()

    def stepper(self) -> Stepper:
        """Return the compiled step with its state."""
        return Stepper(self.compile(), *self.arguments)


def programs_of(case: Case) -> tuple[Lowerable, Lowerable]:
    """Return our step and that in plain Flax, with equal parameters."""
    model = two_layer(case.batch.tokens.shape[1], case.dropout)
    ours, key = make_training(model), jax.random.key(0)
    batch = on_device(case.batch, ours.mesh)

    def make_plain() -> tuple[Any, Any]:
        return make_plain_training(
            model,
            plain_parameters(ours.state.params, model),
            learning_rate=OPTIMIZER.learning_rate,
            eps=OPTIMIZER.eps,
            dropout_per_head=case.dropout_per_head,
        )

    return (
        Lowerable(lambda: make_training(model).step, (ours.state, batch, key)),
        Lowerable(lambda: make_plain()[1], (make_plain()[0], batch, key)),
    )


def compilation(ours: Lowerable, plain: Lowerable) -> Paired:
    """Return the times to trace and compile both steps, without what earlier calls left in memory or on disk."""
    times = []
    with without_stored_programs():
        for swap in range(COMPILATIONS):
            pair = [0.0, 0.0]
            for index in (1, 0) if swap % 2 else (0, 1):
                step = (ours, plain)[index].make()
                jax.clear_caches()
                start = time.perf_counter()
                step.lower(*(ours, plain)[index].arguments).compile()
                pair[index] = 1e3 * (time.perf_counter() - start)
            times.append(pair)
    first, second = np.median(times, axis=0)
    ratio = float(np.median([b / a for a, b in times]))
    return Paired(float(first), float(second), ratio, 0, 0, COMPILATIONS)


@contextmanager
def without_stored_programs() -> Iterator[None]:
    """Compile without the cache on disk."""
    is_enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]  jax adds its options at run time
    _use_cache(enabled=False)
    try:
        yield
    finally:
        _use_cache(enabled=is_enabled)


def _use_cache(*, enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # JAX asks once whether it has a cache
