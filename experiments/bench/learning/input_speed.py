"""Batches from memory maps against those of other loaders, and the share of a training step that its input takes.

The file is in the page cache of the system, since it was just written. One thread makes all batches.

    K steps of a program, B rows of a batch
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench.config import Config
from experiments.bench.learning.batch_sources import (
    example_grain_batches,
    loop_batches,
    our_batches,
    our_grain_batches,
    split_on_disk,
)
from experiments.bench.learning.training_speed import PATIENCE, Stepper
from experiments.bench.learning.two_layer import RATE, listops_rows, make_training, two_layer
from experiments.bench.timing import Row, paired_calls
from experiments.data import arrays, listops
from experiments.data.arrays.device_data import gather

PEERS = {
    "a loop over examples": loop_batches,
    "grain, one element an example": example_grain_batches,
    "our batches by grain": our_grain_batches,
}
"""Name -> makes the function from a step to its batch."""
PER = 1000
"""Times are those of so many examples."""
EXAMPLES = 256
"""Examples of the split in device memory."""


def loader_rows(config: Config) -> Iterator[Row]:
    """Time batches of every size against the peers, then the input of training steps."""
    size = config.loader
    with split_on_disk(size.examples, size.tokens) as split:
        for batch in size.batches:
            count = -(-size.per_call // batch)
            items = count * batch / PER
            for name, peer in PEERS.items():
                result = paired_calls(
                    _next_batches(our_batches(split, batch), count),
                    _next_batches(peer(split, batch), count),
                    per=(items, items),
                    pairs=config.pairs,
                    seconds=config.seconds,
                )
                yield Row(f"B={batch}, against {name}", result)
    yield from input_rows(config)


def _next_batches(batch_of_step: Callable[[int], Any], count: int) -> Callable[[], Any]:
    """Return a function that makes the next `count` batches."""
    steps = itertools.count()

    def call() -> None:
        for step in itertools.islice(steps, count):
            batch_of_step(step)

    return call


def input_rows(config: Config) -> Iterator[Row]:
    """Time K steps whose input is on the device against K steps on batches made before, and their input alone."""
    size, count = config.training, config.loader.steps
    tokens = min(size.lengths)
    rows = listops_rows(max(EXAMPLES, size.batch), tokens)
    split = arrays.Split(rows.tokens, rows.lengths, rows.labels, listops.VOCABULARY, listops.CLASSES)
    training, key = make_training(two_layer(tokens, RATE)), jax.random.key(0)
    data = arrays.DeviceData(split, training.mesh)
    steps = itertools.count(step=count)

    def next_input() -> Any:
        return data.batches(size.batch, seed=0, step=next(steps), count=count)

    from_device = arrays.scan_steps(training.step, training.mesh, training.state)
    batches = jax.block_until_ready(jax.jit(gather)(*next_input()))
    plain = jax.jit(
        lambda state, batches, key: jax.lax.scan(
            lambda s, batch: training.step(s, batch, key), state, batches
        ),
        donate_argnums=0,
    )
    copies = [jax.tree.map(jnp.copy, training.state) for _ in range(2)]
    ours = Stepper(lambda state: from_device(state, next_input(), key), copies[0])
    fixed = Stepper(lambda state: plain(state, batches, key), copies[1])
    title = f"{count} steps of B={size.batch}, T={tokens}"
    ready = paired_calls(ours, fixed, pairs=config.pairs, seconds=PATIENCE * config.seconds)
    yield Row(f"{title}: input on the device, against ready batches", ready)
    input_alone = jax.jit(gather)
    limits: Any = {"pairs": config.pairs, "seconds": config.seconds}
    alone = paired_calls(lambda: jax.block_until_ready(input_alone(*next_input())), fixed, **limits)
    yield Row(f"{title}: input on the device alone, against the steps", alone)
    batch_of_step = our_batches(split, size.batch)
    host_steps = itertools.count()

    def host_input() -> None:
        for step in itertools.islice(host_steps, count):
            jax.block_until_ready(jax.device_put(batch_of_step(step)._asdict()))

    yield Row(
        f"{title}: input from the host alone, against the steps", paired_calls(host_input, fixed, **limits)
    )
