"""The placement of activations: the residual stream on the ambient mesh.

Without a constraint the compiler takes the placement of the residual stream from the embedding table, whose width is
split over "model". Each LayerNorm then adds its moments over devices, and each linear map first collects its input.
With rows over "data", tokens over "seq" and the width whole, a block needs the two sums over "model" of its
row-parallel maps and no more.

Models do not refer to devices: they call `constrain_residual`, which reads the ambient mesh. The training step and the
evaluation set it (`jax.sharding.use_abstract_mesh`) while they are traced; without an ambient mesh nothing is changed.

B batch, T tokens, D channels
"""

import math

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from pdeformer.integrators.meshes import ambient_axes


def residual_spec(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    """Return the `PartitionSpec` of a residual stream: batch over "data", tokens over "seq", width whole.

    A dimension that its mesh axis does not divide is whole, as the 2049 tokens of a sequence with a CLS token.

    Args:
        shape: (B, T, D).
        axes: the sizes of the mesh axes by their names.

    Returns:
        The spec.

    Example:
        >>> residual_spec((8, 2049, 512), {"data": 4, "seq": 2, "model": 2})
        P('data', None, None)
    """
    split = (
        axis if axis in axes and size % axes[axis] == 0 else None
        for axis, size in zip(("data", "seq"), shape, strict=False)
    )
    return PartitionSpec(*split, None)


def constrain_residual(u: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """Place a residual stream on the ambient mesh: batch over "data", tokens over "seq", width whole.

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
