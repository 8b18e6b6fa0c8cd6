"""The arguments with which `nnx.MultiHeadAttention` calls its `attention_fn`, for an attention that a PDE evolves.

B batch, T query tokens, S key tokens, N heads
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.pde import is_concrete


class FlaxArguments(NamedTuple):
    """Keyword arguments of `nnx.dot_product_attention` that `PDEAttention` takes as well."""

    mask: Any
    """Which keys a query may attend."""
    bias: Any
    """Numbers added to the scores."""
    dropout_rng: Any
    """Random key of the dropout."""
    dropout_rate: float
    """Probability of dropping a weight."""
    deterministic: bool
    """Leave the dropout out."""
    precision: Any
    """Precision of the products."""
    module: Any
    """Module that stores the weights."""


def refuse_unserved(arguments: FlaxArguments) -> None:
    """Check that the arguments have a meaning for an evolved attention.

    Raises:
        ValueError: One has none; the text says what to use instead.
    """
    if arguments.bias is not None:
        raise ValueError(
            "PDEAttention has no bias of the scores, got bias; add it to the logits of your own attention, or leave "
            "it out."
        )
    if arguments.module is not None:
        raise ValueError(
            "PDEAttention never forms its weights and cannot sow them, got module (sow_weights=True); use "
            "pde_attention_weights."
        )


def precision_of(arguments: FlaxArguments) -> dict[str, Any]:
    """Return the keyword argument of a precision, a name or a `jax.lax.Precision`, if there is one."""
    precision = arguments.precision
    if precision is None:
        return {}
    return {"precision": precision.name.lower() if isinstance(precision, jax.lax.Precision) else precision}


def dropout_of(arguments: FlaxArguments, dropout: float, dropout_key: Any) -> tuple[float, Any]:
    """Return rate and key of the dropout: `dropout` and `dropout_key`, or those under the names of Flax.

    Raises:
        ValueError: Both are present, or the key is missing.
    """
    if arguments.deterministic or arguments.dropout_rate == 0:
        return dropout, dropout_key
    if dropout:
        raise ValueError(
            f"dropout and dropout_rate name one number, got {dropout} and {arguments.dropout_rate}; pass one of them."
        )
    if arguments.dropout_rng is None:
        raise ValueError(
            f"dropout needs a random key, got None with dropout_rate={arguments.dropout_rate}; pass dropout_rng, or "
            f"deterministic=True."
        )
    return arguments.dropout_rate, arguments.dropout_rng


def segments_of(
    mask: Any, ids: Array | None, key_ids: Array | None, keys: tuple[int, ...], *, keys_alone: bool
) -> tuple[Array | None, Array | None]:
    """Return the segment ids of queries and keys; a mask of padded keys (B, 1, 1, S) becomes ids 1 and 0.

    They are those of the keys alone, as in Flax, or of queries and keys alike. `keys` is (B, S).

    Raises:
        ValueError: The mask is of another form, or there are segment ids as well.
    """
    if mask is None:
        return ids, key_ids
    shape = jnp.shape(mask)
    if len(shape) != 4 or shape[1:3] != (1, 1) or shape[0] not in (1, keys[0]) or shape[3] != keys[1]:
        raise ValueError(
            f"a PDE evolves along a path of tokens, which a mask of pairs does not define, got mask of shape {shape}; "
            f"pass segment_ids and is_causal instead, or a mask (B, 1, 1, S) that is False at padding."
        )
    if ids is not None or key_ids is not None:
        raise ValueError(
            "mask and segment ids are two forms of one option, got both; drop the mask, and mark padded keys by 0 in "
            "key_segment_ids."
        )
    if is_concrete(mask) and not np.all(np.isin(np.asarray(mask, np.float64), (0, 1))):
        raise ValueError(
            f"a mask of padded keys is True or 1 at tokens and False or 0 at padding, got values from "
            f"{np.min(mask)} to {np.max(mask)}; a mask that is added to scores is mask == 0 in this form."
        )
    valid = jnp.broadcast_to(jnp.asarray(mask)[:, 0, 0] != 0, keys).astype(jnp.int32)
    return (None, valid) if keys_alone else (valid, None)
