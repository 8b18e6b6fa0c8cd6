"""What a model reads, made from a batch on the device, so that only bytes travel to it.

B batch, T tokens
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Integer


class ModelInputs(NamedTuple):
    """Ids of tokens, and which of them are tokens."""

    ids: Int32[Array, "*b T"]
    """Ids of the symbols, 0 on padding."""
    segment_ids: Int32[Array, "*b T"]
    """1 on tokens, 0 on padding."""


def model_inputs(
    tokens: Integer[Array | np.ndarray, "*b T"], lengths: Integer[Array | np.ndarray, "*_b"], first_id: int
) -> ModelInputs:
    """Return ids = values + first_id and segment ids 1 on the first `lengths` positions, and 0 after them.

    Args:
        tokens: stored values, 0 to 255.
        lengths: number of tokens of every sequence, of the shape of `tokens` without its last axis.
        first_id: id of the value 0, see `Split`.

    Example:
        >>> import numpy as np
        >>> from experiments.data.arrays import model_inputs
        >>> inputs = model_inputs(np.array([[255, 0, 0]], np.uint8), np.array([2]), first_id=1)
        >>> inputs.ids.tolist(), inputs.segment_ids.tolist()
        ([[256, 1, 0]], [[1, 1, 0]])
    """
    positions: Any = np.arange(tokens.shape[-1], dtype=np.int32).reshape((1,) * (tokens.ndim - 1) + (-1,))
    is_token = positions < jnp.asarray(lengths)[..., None]
    ids = jnp.where(is_token, jnp.asarray(tokens).astype(jnp.int32) + first_id, 0)
    return ModelInputs(ids, is_token.astype(jnp.int32))
