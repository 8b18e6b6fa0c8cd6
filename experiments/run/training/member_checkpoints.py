"""The checkpoint of a group, restored onto any mesh: the number of variants that pad the group depends on the mesh.

S seeds, V variants
"""

from typing import Any

import jax
import numpy as np

from experiments.run.training.checkpoints import Checkpoints
from experiments.run.training.member_programs import MembersState, pad_variants, put
from pdeformer.sharding import path_name


def restore_members(checkpoints: Checkpoints, state: MembersState, step: int, variants: int) -> MembersState:
    """Return the state of a group saved at a step, placed as `state` is. This deletes `state`.

    Args:
        checkpoints: those of the group.
        state: a state of the group on the present mesh.
        step: the step.
        variants: number V of variants without padding.

    Raises:
        ValueError: the checkpoint is damaged, or is that of other members.
    """
    named = jax.tree_util.tree_leaves_with_path(state)
    shapes = {path_name(path): leaf.shape for path, leaf in named}
    saved = checkpoints.shapes(step)
    if saved == shapes or _without_padding(saved, variants) != _without_padding(shapes, variants):
        return checkpoints.restore(state, step)  # which says what differs
    arrays = checkpoints.read(step)

    def place(path: Any, leaf: jax.Array) -> jax.Array:
        x, sharding = arrays[path_name(path)], leaf.sharding
        if x.ndim > 1:
            x = np.swapaxes(pad_variants(np.swapaxes(x, 0, 1)[:variants], leaf.shape[1]), 0, 1)
        leaf.delete()
        return put(x, sharding)

    return jax.tree_util.tree_map_with_path(place, state)


def _without_padding(shapes: dict[str, tuple[int, ...]], variants: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes (S, V, ...) of a group without the variants that pad it."""
    return {
        name: (shape[0], min(shape[1], variants), *shape[2:]) if len(shape) > 1 else shape
        for name, shape in shapes.items()
    }
