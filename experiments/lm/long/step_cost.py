"""Time and temporary memory of a compiled training step at a length.

The temporary memory is what the compiler plans for the step beside its arguments and results
(`compiled.memory_analysis()`), so it holds for rows of any content, and is measured without running them.
"""

import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import run
from experiments.lm.long.long_config import LongConfig
from experiments.lm.long.long_training import programs_of, test_rows
from pdeformer import sharding


def step_cost(config: LongConfig, variant: str, length: int, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    """Return seconds, temporary bytes and compile seconds of a training step; a finished measurement is read.

    Args:
        config: the options.
        variant: name of the variant.
        length: tokens of a row.
        mesh: the mesh.
        folder: the run.
    """
    name = f"{variant} cost T{length}"
    if (row := folder.row(name, 0, ("seconds", "bytes", "compile_seconds", "rows"))) is not None:
        return row
    programs = programs_of(config, variant, mesh)
    state, key = programs.init(jax.random.key(0)), jax.random.key(1)
    batch = _batch(config, length, mesh)
    start = time.perf_counter()
    compiled = programs.step.lower(state, batch, key).compile()
    compile_seconds = time.perf_counter() - start
    analysis = compiled.memory_analysis()
    seconds = []
    for _ in range(config.repeats + 1):
        start = time.perf_counter()
        state, metrics = compiled(state, batch, key)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    row = {
        "seconds": min(seconds[1:]),
        "bytes": None if analysis is None else int(analysis.temp_size_in_bytes),
        "compile_seconds": compile_seconds,
        "rows": len(batch["tokens"]),
    }
    folder.finish(name, 0, row)
    return row


def _batch(config: LongConfig, length: int, mesh: Mesh) -> dict[str, jax.Array]:
    """Return a batch of rows of the task on the mesh."""
    size = config.cost_batch * mesh.shape["data"]
    split, rows = test_rows(config, length), sharding.host_rows(size, mesh)
    chosen = np.asarray(rows) % len(split.labels)
    values = {
        "tokens": split.tokens[chosen],
        "lengths": split.lengths[chosen],
        "labels": split.labels[chosen],
        "weights": np.ones(len(chosen), np.float32),
    }
    return sharding.put_batch(values, mesh, rows=size)
