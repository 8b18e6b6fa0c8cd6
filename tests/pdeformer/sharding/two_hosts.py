"""Batches on the meshes of two hosts, for tests of their rows.

    python -m tests.pdeformer.sharding.two_hosts ADDRESS HOST

Each host has four devices. It prints, for every mesh, whether all its devices have the rows of the global batch.
"""

import itertools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from experiments.data.arrays import Split, batch, evaluation_batches
from pdeformer import sharding

ROWS, EXAMPLES = 16, 24
LAYOUTS = {
    "host by host": list(range(8)),
    "alternating": [0, 4, 1, 5, 2, 6, 3, 7],
    "in pairs": [0, 1, 4, 5, 2, 3, 6, 7],
    "one apart": [1, 2, 3, 4, 5, 6, 7, 0],
}
SHAPES = [shape for shape in itertools.product((1, 2, 4, 8), repeat=3) if np.prod(shape) == 8]


def meshes():
    """Yield every shape of a mesh of eight devices, laid out along four paths through the hosts."""
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    for (name, order), shape in itertools.product(LAYOUTS.items(), SHAPES):
        yield (
            f"{name} {shape}",
            Mesh(
                np.array([devices[i] for i in order]).reshape(shape),
                sharding.AXES,
                axis_types=(AxisType.Auto,) * 3,
            ),
        )


def numbered() -> Split:
    """Return a split whose example i has the label i."""
    labels = np.arange(EXAMPLES, dtype=np.int32)
    tokens = np.repeat(labels[:, None].astype(np.uint8), 3, axis=1)
    return Split(tokens, np.full(EXAMPLES, 3, np.int32), labels, vocabulary=(), classes=EXAMPLES, sha256="")


def agrees(rows: jax.Array, expected: np.ndarray) -> bool:
    """Return whether every device of this host has its rows of the global batch."""
    return rows.shape == expected.shape and all(
        np.array_equal(shard.data, expected[shard.index]) for shard in rows.addressable_shards
    )


def sums_agree(rows: jax.Array, expected: np.ndarray, mesh: Mesh) -> bool:
    """Return whether a program that both hosts run adds the rows to the sum of the global batch."""
    replicated = sharding.replicated_sharding(mesh)
    return int(jax.jit(jnp.sum, out_shardings=replicated)(rows)) == int(expected.sum())


def main(address: str, host: int) -> dict[str, bool]:
    """Put a training batch and the evaluation batches on every mesh, and return which are right."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, host)
    split, result = numbered(), {}
    for name, mesh in meshes():
        own = sharding.host_rows(ROWS, mesh)
        pairs = [(batch(split, ROWS, seed=1, step=3, rows=own), batch(split, ROWS, seed=1, step=3))]
        pairs += zip(evaluation_batches(split, ROWS, rows=own), evaluation_batches(split, ROWS), strict=True)
        result[name] = all(
            agrees(sharding.put_batch(part._asdict(), mesh, rows=ROWS)[field], getattr(full, field))
            for part, full in pairs
            for field in ("tokens", "labels")
        )
        if "alternating" in name:
            part, full = pairs[0]
            labels = sharding.put_batch({"labels": part.labels}, mesh, rows=ROWS)["labels"]
            result[name] &= sums_agree(labels, full.labels, mesh)
        try:
            sharding.put_batch({"labels": np.zeros(8)}, mesh)
            result[f"{name} without rows"] = True
        except ValueError as error:
            result[f"{name} without rows"] = "pass rows=B" not in str(error)
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]))) + "\n")
