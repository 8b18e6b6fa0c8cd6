"""Batches over hosts: the rows that a host prepares, and the global arrays made of them.

A batch of B rows is split over "data": the shard i of n has the rows i·B/n up to (i+1)·B/n. A host holds the rows of
its own devices. They are neither B / hosts in number nor contiguous on every mesh: where "model" or "seq" spans hosts,
several hosts hold the same rows, and each of them prepares them.
"""

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

    Raises:
        ValueError: the mesh has no axis "data".

    Example:
        >>> from pdeformer import sharding
        >>> batch_sharding(sharding.make_mesh(data=1)).spec
        P('data',)
    """
    if "data" not in mesh.shape:
        raise ValueError(
            f"a batch is split over the mesh axis 'data', got a mesh of {mesh.axis_names}; make it with make_mesh."
        )
    return NamedSharding(mesh, PartitionSpec("data"))


def host_rows(rows: int, mesh: Mesh, *, host: int | None = None) -> np.ndarray:
    """Return the rows of a global batch that a host prepares: those that its own devices hold.

    Args:
        rows: the number B of rows of the global batch.
        mesh: the mesh, see `make_mesh`.
        host: the index of the host; None is this one.

    Returns:
        The indices of the rows in 0 … B-1, integers, ascending, each once. All hosts together have every row.

    Raises:
        ValueError: the axis "data" does not divide B.

    Example:
        >>> from pdeformer import sharding
        >>> host_rows(4, sharding.make_mesh(data=1))
        array([0, 1, 2, 3])
    """
    host, shards = jax.process_index() if host is None else host, batch_sharding(mesh).mesh.shape["data"]
    if rows % shards:
        raise ValueError(
            f"the batch must divide evenly over the data axis, got {rows} rows on data={shards}; change the batch "
            "size, or pad with rows of weight 0."
        )
    indices = batch_sharding(mesh).devices_indices_map((rows,))
    starts = {index.indices(rows)[0] for device, (index,) in indices.items() if device.process_index == host}
    return (np.array(sorted(starts), int)[:, None] + np.arange(rows // shards)).ravel()


def put_batch(batch: Any, mesh: Mesh, *, rows: int | None = None) -> Any:
    """Make a tree of global arrays from the NumPy rows that this host has prepared.

    Args:
        batch: a tree of arrays. Their leading dimension has the rows `host_rows(B, mesh)` of the global batch, in this
            order. On one host, these are all rows.
        mesh: the mesh, see `make_mesh`.
        rows: the number B of rows of the global batch. It may be left out where host h of H prepares the rows h·B/H up
            to (h+1)·B/H, as on one host.

    Returns:
        A tree of `jax.Array`s of leading dimension B, split over the axis "data".

    Raises:
        ValueError: the axis "data" does not divide B, this host has another number of rows, `rows` is left out where
            it is needed, a leaf is no array, or an integer does not fit those of JAX.

    Example:
        >>> import numpy as np
        >>> from pdeformer import sharding
        >>> put_batch({"tokens": np.zeros((4, 6), np.int32)}, sharding.make_mesh(data=1))["tokens"].shape
        (4, 6)
    """
    place = batch_sharding(mesh)

    def put(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        _check_leaf(path_name(path), leaf)
        total = _count_rows(leaf.shape[0], mesh, path_name(path)) if rows is None else rows
        own, length = host_rows(total, mesh), total // mesh.shape["data"]
        if len(own) != leaf.shape[0]:
            raise ValueError(
                f"this host prepares the {len(own)} rows host_rows({total}, mesh) of a batch of {total}, got "
                f"{leaf.shape[0]} ({path_name(path)}); take these rows."
            )

        def shard(index: Any) -> Any:
            start = int(np.searchsorted(own, index[0].indices(total)[0]))
            return leaf[start : start + length]

        return jax.make_array_from_callback((total, *leaf.shape[1:]), place, shard)

    return jax.tree_util.tree_map_with_path(put, batch)


def _check_leaf(name: str, leaf: Any) -> None:
    if np.ndim(leaf) == 0 or not hasattr(leaf, "shape"):
        raise ValueError(
            f"a batch is a tree of arrays with a leading batch dimension, got {leaf!r} ({name}); "
            "convert lists by np.asarray, and pass numbers of the whole batch apart from it."
        )
    if np.issubdtype(leaf.dtype, np.integer) and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
        check_fits(name, np.asarray(leaf))


def _count_rows(rows: int, mesh: Mesh, name: str) -> int:
    """Return the size of a global batch of which host h of H has the h-th part. Raises ValueError on other meshes."""
    hosts, shards = sorted({device.process_index for device in mesh.devices.flat}), mesh.shape["data"]
    total = rows * len(hosts)
    if total % shards:
        raise ValueError(
            f"the batch must divide evenly over the data axis, got {total} rows on data={shards} ({name}); change "
            "the batch size, or pad with rows of weight 0."
        )
    parts = np.arange(total).reshape(len(hosts), rows)
    if not all(
        np.array_equal(host_rows(total, mesh, host=h), part) for h, part in zip(hosts, parts, strict=True)
    ):
        raise ValueError(
            f"on a mesh whose hosts share rows, each prepares those of its own devices, got {rows} rows ({name}) of "
            f"an unknown number; prepare host_rows(B, mesh) and pass rows=B."
        )
    return total
