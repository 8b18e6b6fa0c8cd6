"""`evolve` with the sequence split over the mesh axis "seq": one halo exchange for all n steps.

n steps read n tokens to either side. Each device collects these rows once from its two neighbors, evolves its shard
together with them, and drops them: what was wrong at the cut has moved at most n rows inward. The ends of the sequence
have no neighbor. There the halo holds, wherever the equation allows it, the mirror image of the shard, of which the
wall is a symmetry:

    neumann      u_{-k} = u_{k-1}             diffusion, wave, reaction
    dirichlet    u_{-k} = -u_{k-2}, u_{-1}=0  diffusion, wave
    copy         u_{-k} = 2 u_0 - u_k         diffusion, wave
    causal       u_{-k} = u_0                 all
    periodic     the ring closes over the devices, for all

The shard is then a piece of an endless line, and every method without segments is exact on it. Otherwise, and with
segments, ids of padding mark the rows beyond the ends. The transposed exchange is one more for the backward pass.

    B batch, T tokens, D channels, p devices, n steps, h rows of a halo, see `halo_rows`
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Shaped

from pdeformer.integrators.api import Method, evolve
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import ambient_axes, row_axes
from pdeformer.pde import (
    PDE,
    AdvectionDiffusion,
    Coefficient,
    Diffusion,
    ReactionDiffusion,
    Wave,
    is_concrete,
)
from pdeformer.stencil import Boundary, rows
from pdeformer.stencil.arguments import fit_segment_ids, resolve_causal
from pdeformer.stencil.halo import AXIS, exchange_rows, exchange_segments


def evolve_sequence_parallel(
    u: Shaped[Array | np.ndarray, "*s"],
    pde: PDE,
    *,
    steps: int,
    mesh: Mesh | AbstractMesh,
    dt: Coefficient = 1.0,
    axis: int = -2,
    boundary: Boundary | str = "neumann",
    segment_ids: Shaped[Array | np.ndarray, "*b t"] | list | None = None,
    causal: bool = False,
    method: Method | str = "auto",
    is_causal: bool | None = None,
) -> Float[Array, "*s"]:
    """Compute `evolve` with the sequence split over the mesh axis "seq": one exchange of `steps` rows for all steps.

    The program has two collective-permutes, one if causal, and as many again in the backward pass. A halo longer than
    a shard takes one for each device that it reaches. The first axis of a batch stays split over "data" and "model",
    or "data" alone, if they divide it.

    Args:
        u: the state `(..., T, D)` with tokens along `axis`, as in `evolve`; T is a multiple of the size of "seq".
        pde: the equation, as in `evolve`.
        steps: the number of steps, a static integer ≥ 0; 0 returns `u`.
        mesh: a mesh with the axis "seq", see `sharding.make_mesh`.
        dt: the length of a step in pseudo-time, > 0.
        axis: the axis of tokens.
        boundary: "neumann", "periodic", "dirichlet" or "copy", as in `evolve`.
        segment_ids: integers or booleans `(..., T)`, as in `evolve`; those of the halo travel with its states.
        causal: whether no output may depend on a later token, as in `evolve`.
        method: the method on each shard, as in `evolve`. With segments or walls that have no mirror image, a method
            that serves no segments becomes "auto" there.
        is_causal: another name of `causal`; None means that it is left out.

    Returns:
        What `evolve` returns, split as `(rows, ..., seq, D)`.

    Raises:
        ValueError: as in `evolve`, the mesh has no axis "seq", or "seq" does not divide T.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, sharding
        >>> mesh = sharding.make_mesh(data=1, seq=1)
        >>> u = jnp.array([[0.0], [0.0], [1.0], [0.0]])
        >>> sharding.evolve_sequence_parallel(u, Diffusion(0.25), steps=1, mesh=mesh)[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.25]
    """
    u = jnp.asarray(u)
    options: Any = dict(axis=axis, boundary=boundary, segment_ids=segment_ids, method=method)
    causality: Any = dict(causal=causal, is_causal=is_causal)
    jax.eval_shape(lambda: evolve(u, pde, steps=steps, dt=dt, **options, **causality))  # checks all arguments
    if steps == 0 or u.size == 0:
        return u
    check_sequence_mesh(mesh, u.shape[axis])
    state = u[:, None] if u.ndim == 1 else jnp.moveaxis(u, axis, -2)
    ids = None if segment_ids is None else fit_segment_ids(segment_ids, state.shape[:-1])
    if isinstance(mesh, Mesh) and is_concrete(state):
        state = jax.device_put(state, NamedSharding(mesh, _state_spec(state, dict(mesh.shape))))
    causal = resolve_causal(**causality)
    static: Any = dict(mesh=mesh, steps=int(steps), boundary=boundary, method=method, causal=causal)
    after = _evolve_on_mesh(state, jax.tree.map(jnp.asarray, pde.scaled_widely(dt)), ids, **static)
    return after[:, 0] if u.ndim == 1 else jnp.moveaxis(after, -2, axis)


def check_sequence_mesh(mesh: Mesh | AbstractMesh, length: int) -> None:
    """Check that a mesh splits sequences of `length` tokens.

    Raises:
        ValueError: it has no axis "seq", or that axis does not divide the tokens.
    """
    if AXIS not in mesh.shape:
        raise ValueError(
            f"sequences are split over the mesh axis 'seq', got a mesh of {mesh.axis_names}; make it with make_mesh."
        )
    if length % mesh.shape[AXIS]:
        raise ValueError(
            f"the axis 'seq' must divide the tokens, got T={length} and seq={mesh.shape[AXIS]}; pad the sequence with "
            "tokens of segment id 0."
        )


def sequence_shards(length: int) -> int:
    """Return over how many devices the ambient mesh splits a sequence of `length` tokens: 1 if it cannot."""
    shards = ambient_axes().get(AXIS, 1)
    return 1 if length % shards else shards


def evolve_on_mesh(
    u: Float[Array, "*b t d"],
    pde: PDE,
    *,
    steps: int,
    segment_ids: Array | None = None,
    causal: bool = False,
) -> Float[Array, "*b t d"]:
    """Return `evolve`, with the sequence split if the ambient mesh can split it, see `sequence_shards`.

    Args:
        u: the state `(..., T, D)`.
        pde: the equation, as in `evolve`.
        steps: the number of steps.
        segment_ids: ids `(..., T)`, or None.
        causal: whether no output may depend on a later token.

    Returns:
        The state after all steps.
    """
    options: Any = dict(steps=steps, segment_ids=segment_ids, causal=causal)
    if steps == 0 or u.size == 0 or sequence_shards(u.shape[-2]) == 1:
        return evolve(u, pde, **options)
    jax.eval_shape(lambda: evolve(u, pde, **options))  # checks all arguments
    pde = jax.tree.map(jnp.asarray, pde.scaled_widely(1.0))
    static: Any = dict(mesh=None, steps=steps, boundary="neumann", method="auto", causal=causal)
    return _evolve_on_mesh(u, pde, segment_ids, **static)


def map_with_halo(
    function: Callable[..., Array],
    u: Float[Array, "*b t d"],
    segment_ids: Array | None,
    *operands: Any,
    radius: int,
) -> Array:
    """Return `function(u, segment_ids, *operands)` of the whole sequence, computed by shards of the ambient mesh.

    Args:
        function: maps states, their ids and the operands to one row for each token, which depends on tokens at most
            `radius` places away.
        u: the state `(..., T, D)`.
        segment_ids: ids `(..., T)`, or None; the function receives ids in any case.
        operands: trees of arrays that every device has whole.
        radius: the rows of a halo.

    Returns:
        The result, `(..., T, ...)`.
    """

    def apply(u: Array, segment_ids: Array | None, *operands: Any) -> Array:
        slab, ids = exchange_segments(u, segment_ids, radius, radius)
        return rows(function(slab, ids, *operands), radius, radius + u.shape[-2])

    return map_shards(apply, u, segment_ids, *operands)


def map_shards(
    function: Callable[..., Array],
    u: Float[Array, "*b t d"],
    segment_ids: Array | None,
    *operands: Any,
    mesh: Mesh | AbstractMesh | None = None,
) -> Array:
    """Return `function(u, segment_ids, *operands)` on every shard of a mesh.

    Args:
        function: maps a shard `(..., T/p, D)`, its ids and the operands to a result of the shape of the shard. It runs
            inside `jax.shard_map`, and may exchange rows along "seq".
        u: the state `(..., T, D)`: tokens are split over "seq", the first axis of a batch as the residual stream.
        segment_ids: ids `(..., T)`, or None.
        operands: trees of arrays that every device has whole.
        mesh: the mesh; None is the ambient one.

    Returns:
        The result, of the shape of `u`.
    """
    axes = ambient_axes() if mesh is None else dict(mesh.shape)
    spec = _state_spec(u, axes)
    ids_spec = None
    if segment_ids is not None:
        segment_ids = segment_ids.reshape((1,) * (u.ndim - 1 - segment_ids.ndim) + segment_ids.shape)
        split_rows = u.ndim > 2 and segment_ids.shape[0] == u.shape[0]
        ids_spec = PartitionSpec(
            *(spec[0] if split_rows else None,) * (u.ndim > 2), *[None] * (u.ndim - 3), AXIS
        )
    mapped = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(spec, ids_spec, *[PartitionSpec()] * len(operands)),
        out_specs=spec,
        axis_names=frozenset(axes),
    )
    return mapped(u, segment_ids, *operands)


def _state_spec(u: Array, axes: dict[str, int]) -> PartitionSpec:
    lead = (row_axes(u.shape[0], axes) or None, *[None] * (u.ndim - 3)) if u.ndim > 2 else ()
    return PartitionSpec(*lead, AXIS, None)


@compile_once("mesh", "steps", "boundary", "method", "causal")
def _evolve_on_mesh(
    u: Array,
    pde: PDE,
    segment_ids: Array | None,
    *,
    mesh: Any,
    steps: int,
    boundary: str,
    method: str,
    causal: bool,
) -> Array:
    local = partial(_evolve_shard, steps=steps, boundary=boundary, method=method, causal=causal)
    return map_shards(local, u, segment_ids, pde, mesh=mesh)


def _evolve_shard(
    u: Array, segment_ids: Array | None, pde: Any, *, steps: int, boundary: str, method: str, causal: bool
) -> Array:
    """Evolve one shard after one exchange with its neighbors."""
    length, dtype = u.shape[-2], u.dtype
    before, after = halo_rows(pde, steps, boundary, causal=causal)
    evolve_slab = partial(evolve, pde=pde, steps=steps, causal=causal)
    if segment_ids is None and (
        boundary == "periodic" or (before < length and _has_image(pde, boundary, causal=causal))
    ):
        slab = exchange_rows(u, before, after, ring=boundary == "periodic")
        if boundary != "periodic":
            slab = mirror_halo(slab, before, after, "causal" if causal else boundary)
        # any boundary: both ends of the slab are dropped, and walls have the most kernels
        ends = "periodic" if method == "spectral" else "neumann"
        result = evolve_slab(slab, method=method, boundary=ends)
    else:
        slab, ids = exchange_segments(u, segment_ids, before, after)
        method = "scan" if method == "scan" else "auto"
        result = evolve_slab(slab, method=method, boundary=boundary, segment_ids=ids)
    return rows(result, before, before + length).astype(dtype)


def halo_rows(pde: PDE, steps: int, boundary: str, *, causal: bool) -> tuple[int, int]:
    """Return how many rows before and after a token its value after all steps depends on."""
    if causal:
        return (2 if isinstance(pde, AdvectionDiffusion) else 1) * steps, 0
    # Under "copy" the last row of a slab looks like the end of a run, to which no reaction is applied.
    margin = int(boundary == "copy" and isinstance(pde, ReactionDiffusion))
    return steps + margin, steps + margin


def _has_image(pde: PDE, boundary: str, *, causal: bool) -> bool:
    """Return whether the steps commute with the reflection at a wall."""
    even = Diffusion | Wave | ReactionDiffusion
    return causal or isinstance(pde, even if boundary == "neumann" else Diffusion | Wave)


def mirror_halo(slab: Array, before: int, after: int, wall: str) -> Array:
    """Fill the halo beyond both ends of the sequence with the mirror image of the shard.

    Args:
        slab: a shard with its halo; shards are longer than halos.
        before: rows of the left halo.
        after: rows of the right halo.
        wall: "neumann", "dirichlet", "copy" or "causal".

    Returns:
        The slab.
    """
    total, index, last = slab.shape[-2], lax.axis_index(AXIS), lax.axis_size(AXIS) - 1
    if wall == "copy":  # 2 u_0 - u_k needs the digits of the computation
        slab = slab.astype(jnp.promote_types(slab.dtype, jnp.float32))
    left = rows(slab, 0, before)
    start = _image(rows(slab, before, 2 * before + 1), before, wall)
    parts = [jnp.where(index == 0, start, left), rows(slab, before, total - after)]
    if after:
        right = rows(slab, total - after, total)
        end = jnp.flip(rows(slab, total - 2 * after - 1, total - after), axis=-2)
        end = jnp.flip(_image(end, after, wall), axis=-2)
        parts.append(jnp.where(index == last, end, right))
    return jnp.concatenate(parts, axis=-2)


def _image(edge: Array, count: int, wall: str) -> Array:
    """Return u_{-count} … u_{-1} from the rows u_0 … u_count."""
    match wall:
        case "neumann":
            return jnp.flip(rows(edge, 0, count), axis=-2)
        case "dirichlet":
            return -jnp.flip(
                jnp.concatenate([jnp.zeros_like(rows(edge, 0, 1)), rows(edge, 0, count - 1)], -2), -2
            )
        case "copy":
            return 2 * rows(edge, 0, 1) - jnp.flip(rows(edge, 1, count + 1), axis=-2)
    return jnp.broadcast_to(rows(edge, 0, 1), (*edge.shape[:-2], count, edge.shape[-1]))
