"""Batches."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pdeformer.sharding.partition_rules import path_name
from pdeformer.stencil.arguments import check_fits


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a batch: the leading dimension is split over "data", the others are not split.

    Args:
        mesh: the mesh, see `make_mesh`.

    Returns:
        The sharding.

    Example:
        >>> from pdeformer import sharding
        >>> batch_sharding(sharding.make_mesh(data=1)).spec
        P('data',)
    """
    _check_data_axis(mesh)
    return NamedSharding(mesh, PartitionSpec("data"))


def _check_data_axis(mesh: Mesh) -> None:
    if "data" not in mesh.shape:
        raise ValueError(
            f"a batch is split over the mesh axis 'data', got a mesh of {mesh.axis_names}; make it with make_mesh."
        )


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Make a tree of global arrays from the NumPy rows that this host has prepared.

    Args:
        batch: a tree of arrays of leading dimension B / hosts. Host h holds the rows from h·B/hosts up to
            (h+1)·B/hosts of the global batch of B rows.
        mesh: the mesh, see `make_mesh`.

    Returns:
        A tree of `jax.Array`s of leading dimension B, split over the axis "data".

    Raises:
        ValueError: the axis "data" does not divide B, a leaf is no array, or an integer does not fit those of JAX.

    Example:
        >>> import numpy as np
        >>> from pdeformer import sharding
        >>> put_batch({"tokens": np.zeros((4, 6), np.int32)}, sharding.make_mesh(data=1))["tokens"].shape
        (4, 6)
    """
    _check_data_axis(mesh)
    hosts, shards = jax.process_count(), mesh.shape["data"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if np.ndim(leaf) == 0 or not hasattr(leaf, "shape"):
            raise ValueError(
                f"a batch is a tree of arrays with a leading batch dimension, got {leaf!r} ({path_name(path)}); "
                "convert lists by np.asarray, and pass numbers of the whole batch apart from it."
            )
        if np.issubdtype(leaf.dtype, np.integer) and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            check_fits(path_name(path), np.asarray(leaf))
        rows = leaf.shape[0] * hosts
        if rows % shards:
            raise ValueError(
                f"the batch must divide evenly over the data axis, got {rows} rows on data={shards} "
                f"({path_name(path)}); change the batch size, or pad with rows of weight 0."
            )
    place = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), batch)
