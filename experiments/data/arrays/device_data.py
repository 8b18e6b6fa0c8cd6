"""Training data in device memory: the device gathers its own batches, and one program runs several steps.

K steps of a program, B rows of a global batch, n examples
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.data.arrays.batches import batch_indices
from experiments.data.arrays.store import Split
from pdeformer import sharding


class DeviceData:
    """A split on every device of a mesh, as the bytes that its files have.

    Args:
        split: the split.
        mesh: the mesh; every device gets all examples.
    """

    def __init__(self, split: Split, mesh: Mesh) -> None:
        """Copy the arrays to the devices."""
        self._size = len(split.labels)
        values = {"tokens": split.tokens, "lengths": split.lengths, "labels": split.labels}
        everywhere = sharding.replicated_sharding(mesh)
        self._arrays = {
            name: jax.make_array_from_process_local_data(everywhere, np.asarray(value))
            for name, value in values.items()
        }
        self._everywhere = everywhere

    def batches(self, batch_size: int, *, seed: int, step: int, count: int = 1) -> tuple[Any, Any]:
        """Return the arrays, and the rows (K, B) of the batches of steps `step` to `step + count - 1`."""
        steps = range(step, step + count)
        rows = [batch_indices(self._size, batch_size, seed=seed, step=s) for s in steps]
        rows = np.stack(rows).astype(np.int32)
        return self._arrays, jax.make_array_from_process_local_data(self._everywhere, rows)


def gather(values: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """Return the batch of some rows, or the batches (K, B, ...) of rows (K, B); every row has weight 1."""
    batch = {name: jnp.take(array, rows, axis=0) for name, array in values.items()}
    return batch | {"weights": jnp.ones(rows.shape, jnp.float32)}


def scan_steps(step_fn: Any, mesh: Mesh, state: Any) -> Any:
    """Return the jitted function `(state, (arrays, rows), key) -> (state, metrics)` of K steps.

    It gathers the batch of every step from the arrays on the device, and applies `step_fn(state, batch, key)`. The
    metrics have a leading axis K. Equal arguments give the same function, which is compiled once.

    Args:
        step_fn: the jitted step.
        mesh: the mesh.
        state: a state, whose shardings the function keeps.
    """
    leaves, structure = jax.tree.flatten(state)
    return _scan_steps(step_fn, mesh, structure, tuple(leaf.sharding for leaf in leaves))


@functools.cache
def _scan_steps(step_fn: Any, mesh: Mesh, structure: Any, leaf_shardings: tuple[Any, ...]) -> Any:
    def steps(state: Any, data: tuple[dict[str, jax.Array], jax.Array], key: Any) -> tuple[Any, Any]:
        values, rows = data

        def step(state: Any, rows: jax.Array) -> tuple[Any, Any]:
            batch = jax.lax.with_sharding_constraint(gather(values, rows), sharding.batch_sharding(mesh))
            return step_fn(state, batch, key)

        return jax.lax.scan(step, state, rows)

    shardings = jax.tree.unflatten(structure, leaf_shardings)
    return jax.jit(steps, donate_argnums=0, out_shardings=(shardings, sharding.replicated_sharding(mesh)))
