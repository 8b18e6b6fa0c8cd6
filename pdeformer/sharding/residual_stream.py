"""The placement of activations: the residual stream on the ambient mesh.

Without a constraint the compiler takes the placement of the residual stream from the embedding table, whose width is
split over "model". Each LayerNorm then adds its moments over devices, and each linear map first collects its input.
Here the width is whole, and the rows of the batch are split over "data" and, where they are enough, over "model" as
well. A block then needs no communication outside its linear maps, no device computes a LayerNorm of another, and for
the linear maps the compiler collects what is smaller: the weights, which "model" splits, or the activations of the
"model" group, whose sums it scatters again.

Models do not refer to devices: they call `constrain_residual`, which reads the ambient mesh. The training step and the
evaluation set it (`jax.sharding.use_abstract_mesh`) while they are traced; without an ambient mesh nothing is changed.

B batch, T tokens, D channels
"""

import math
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from pdeformer.integrators.meshes import ambient_axes, row_axes


def residual_spec(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    """Return the `PartitionSpec` of a residual stream: rows over "data" and "model", tokens over "seq", width whole.

    Rows that the two axes together do not divide are split over "data" alone. A dimension that its axis does not
    divide is whole, as the 2049 tokens of a sequence with a CLS token.

    Args:
        shape: (B, T, D).
        axes: the sizes of the mesh axes by their names.

    Returns:
        The spec.

    Example:
        >>> residual_spec((16, 2048, 512), {"data": 4, "seq": 2, "model": 4})
        P(('data', 'model'), 'seq', None)
        >>> residual_spec((4, 2049, 512), {"data": 4, "seq": 2, "model": 4})
        P('data', None, None)
    """
    rows = row_axes(shape[0], axes)
    tokens = "seq" if "seq" in axes and shape[1] % axes["seq"] == 0 else None
    return PartitionSpec(rows if len(rows) > 1 else rows[0] if rows else None, tokens, None)


def constrain_residual(u: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """Place a residual stream on the ambient mesh by `residual_spec`.

    Only automatic axes are constrained: inside `shard_map` its manual axes are left alone.

    Args:
        u: (B, T, D).

    Returns:
        The same numbers. Without an ambient mesh of several devices, `u` itself.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pdeformer import sharding
        >>> constrain_residual(jnp.ones((4, 6, 8))).sharding.num_devices  # no ambient mesh
        1
        >>> with jax.set_mesh(sharding.make_mesh()):
        ...     constrain_residual(jnp.ones((jax.device_count(), 6, 8))).sharding.num_devices == jax.device_count()
        True
    """
    axes = ambient_axes()
    if math.prod(axes.values()) == 1:
        return u
    return jax.lax.with_sharding_constraint(u, residual_spec(u.shape, axes))


def collect_tables(tables: Any, tokens: int) -> Any:
    """Place embedding tables whole on every device of the ambient mesh, where that is less than the embeddings.

    A lookup in a table that is split over the width gives embeddings that are split over the width, and
    `constrain_residual` then exchanges them in an all-to-all. A table with no more rows than a device looks up tokens
    is collected instead.

    Args:
        tables: a tree of arrays (V, D).
        tokens: the number B·T of tokens that are looked up.

    Returns:
        The same numbers. Without an ambient mesh of several devices, `tables` itself.

    Example:
        >>> import jax.numpy as jnp
        >>> collect_tables({"embedding": jnp.ones((16, 8))}, tokens=64)["embedding"].shape
        (16, 8)
    """
    devices = math.prod(ambient_axes().values())
    if devices == 1:
        return tables

    def collect(table: Any) -> Any:
        if table.shape[0] * devices > tokens:
            return table
        return jax.lax.with_sharding_constraint(table, PartitionSpec())

    return jax.tree.map(collect, tables)
