"""The placement of parameters: one table of rules from their paths to `PartitionSpec`s.

Legend: D channels, F feed-forward width, L layers, N heads, H head width, V vocabulary.
"""

import logging
import math
import re
import warnings
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

log = logging.getLogger(__name__)

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # Blocks in a list, as blocks/0/...: the rules of stacked blocks below, without their axis L.
    (r"(^|/)blocks/\d+/.*(query|key|value|up)/kernel$", PartitionSpec(None, "model")),
    (r"(^|/)blocks/\d+/.*(query|key|value|up)/bias$", PartitionSpec("model")),
    (r"(^|/)blocks/\d+/.*(out|down)/kernel$", PartitionSpec("model")),
    # Blocks are stacked: axis 0 is L. Column-parallel: (L, D, N*H), or (L, D, N, H) over heads; (L, D, F).
    (r"(^|/)blocks/.*(query|key|value|up)/kernel$", PartitionSpec(None, None, "model")),
    (r"(^|/)blocks/.*(query|key|value|up)/bias$", PartitionSpec(None, "model")),
    # Row-parallel: (L, N*H, D), or (L, N, H, D); (L, F, D). One sum over "model" follows each.
    (r"(^|/)blocks/.*(out|down)/kernel$", PartitionSpec(None, "model")),
    # (V, D) is split over D, so that the lookup of any token stays on its device.
    (r"(^|/)embed/.*embedding$", PartitionSpec(None, "model")),
    (r"(^|/)head/kernel$", PartitionSpec(None, "model")),
    (r"(^|/)head/bias$", PartitionSpec("model")),
)
"""Pairs of a regular expression, searched in the parameter's path, and a `PartitionSpec`; the first match wins."""


MATRIX_PATTERN = r"(^|/)(kernel|embedding)$"
"""Names of the parameters that are split over "data" on request: matrices, which are nearly all of the weights."""

STACK_PATTERN = r"(^|/)blocks/(?!\d)"
"""Names of the parameters of stacked blocks, whose axis 0 is the layer."""


def path_name(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf: its keys joined by "/", as in `params/blocks/attention/query/kernel`.

    The leaf of an `nnx.Variable` has one key more, the attribute `value`, which is no part of the name. A parameter
    therefore has one name in `nnx.state(model)`, in `nnx.to_pure_dict` of it and in the state of an optimizer.

    Args:
        path: the keys of a leaf, as `jax.tree_util.tree_leaves_with_path` gives them.

    Returns:
        The name.

    Example:
        >>> import jax
        >>> [(path, _)] = jax.tree_util.tree_leaves_with_path({"head": {"kernel": 1.0}})
        >>> path_name(path)
        'head/kernel'
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh, *, fsdp: bool = False) -> PartitionSpec:
    """Return the `PartitionSpec` of a parameter: that of the first matching rule, else replicated.

    A parameter is also replicated, and logged, if the mesh has no such axis, if a mesh axis does not divide the
    dimension it would split, or
    if the parameter has fewer dimensions than its rule.

    With `fsdp`, a kernel or an embedding is split over "data" too, in its largest dimension that no rule splits and
    that "data" divides, or else in the dimension that the rule splits. The axis L of stacked blocks stays whole, so
    that each layer is collected when it is used.

    Args:
        name: the path of the parameter, see `path_name`.
        shape: the shape of the parameter.
        mesh: the mesh, see `make_mesh`.
        fsdp: whether to split it over "data" as well (fully sharded data parallelism).

    Returns:
        The spec; `PartitionSpec()` means replicated.

    Example:
        >>> from pdeformer import sharding
        >>> spec_of("head/kernel", (8, 4), sharding.make_mesh(data=1))
        P(None, 'model')
        >>> spec_of("head/kernel", (8, 4), sharding.make_mesh(data=1), fsdp=True)
        P('data', 'model')

    Reference:
        Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020.
    """
    spec = _fitting_rule(name, shape, mesh)
    return _split_over_data(name, shape, spec, mesh) if fsdp and "data" in mesh.shape else spec


def _fitting_rule(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Return the rule of a parameter, or a replicated spec, which is logged, if the rule does not fit."""
    spec = _rule_of(name)
    if len(spec) > len(shape):
        log.info("%s %s is replicated: the rule %s has more dimensions", name, shape, spec)
        return PartitionSpec()
    if any(axis is not None and axis not in mesh.shape for axis in spec):
        log.info(
            "%s %s is replicated: the mesh %s has no axis of its rule %s", name, shape, mesh.axis_names, spec
        )
        return PartitionSpec()
    for size, axis in zip(shape, spec, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            log.info(
                "%s %s is replicated: %d is not divisible by %s=%d", name, shape, size, axis, mesh.shape[axis]
            )
            return PartitionSpec()
    return spec


def _split_over_data(name: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> PartitionSpec:
    """Return the spec of a kernel or an embedding with one dimension split over "data", if one can be."""
    if not re.search(MATRIX_PATTERN, name):
        return spec
    axes = [*spec, *[None] * (len(shape) - len(spec))]
    first = 1 if re.search(STACK_PATTERN, name) else 0
    free = [d for d in range(first, len(shape)) if axes[d] is None]
    split = [d for d in range(first, len(shape)) if axes[d] is not None]
    for d in (*sorted(free, key=lambda d: -shape[d]), *split):
        names = ("data",) if axes[d] is None else (axes[d], "data")
        if shape[d] % math.prod(mesh.shape[name] for name in names) == 0:
            axes[d] = names[0] if len(names) == 1 else names
            return PartitionSpec(*axes)
    log.info(
        "%s %s is not split over data=%d, which divides none of its dimensions",
        name,
        shape,
        mesh.shape["data"],
    )
    return spec


def _rule_of(name: str) -> PartitionSpec:
    return next((spec for pattern, spec in RULES if re.search(pattern, name)), PartitionSpec())


def state_shardings(abstract_state: Any, mesh: Mesh, *, fsdp: bool = False) -> Any:
    """Return the `NamedSharding` of every leaf of a tree of shapes, by `RULES`.

    It warns, with the names of the leaves, if the mesh has devices along "model" and every leaf is replicated: no name
    matches a rule, or no shape fits.

    Args:
        abstract_state: a tree of arrays or shapes, as from `jax.eval_shape`, `nnx.state(model)` or the state of an
            optimizer.
        mesh: the mesh, see `make_mesh`.
        fsdp: whether to split kernels, embeddings and their moments over "data" as well, see `spec_of`.

    Returns:
        A tree of the same structure.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import sharding
        >>> tree = {"head": {"kernel": jnp.zeros((8, 4))}}
        >>> state_shardings(tree, sharding.make_mesh(data=1))["head"]["kernel"].spec
        P(None, 'model')
    """

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(path_name(path), np.shape(leaf), mesh, fsdp=fsdp))

    shardings = jax.tree_util.tree_map_with_path(place, abstract_state)
    if mesh.shape.get("model", 1) > 1:
        _warn_of_replicated_leaves(shardings, mesh)
    return shardings


def _warn_of_replicated_leaves(shardings: Any, mesh: Mesh) -> None:
    """Warn if every leaf is replicated: no name matches a rule, or no shape fits the rule of its name."""
    leaves = jax.tree_util.tree_leaves_with_path(shardings)
    if not leaves or any(leaf.spec != PartitionSpec() for _, leaf in leaves):
        return
    names = [path_name(path) for path, _ in leaves]
    matches = [name for name in names if _rule_of(name) != PartitionSpec()]
    problem = f"other shapes at {_first_names(matches)}" if matches else f"the names {_first_names(names)}"
    warnings.warn(
        f"sharding.RULES split parameters by their names, in dimensions that model={mesh.shape['model']} divides, got "
        f"{problem}: every leaf is replicated. Use PartitionSpecs of your own, other sizes, or model=1.",
        stacklevel=3,
    )


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that puts the full array on every device of the mesh.

    Args:
        mesh: the mesh, see `make_mesh`.

    Returns:
        The sharding.

    Example:
        >>> from pdeformer import sharding
        >>> replicated_sharding(sharding.make_mesh(data=1)).spec
        P()
    """
    return NamedSharding(mesh, PartitionSpec())
