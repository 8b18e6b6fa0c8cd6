"""The kernel of TPUs on meshes: each device computes its own examples and key heads, under `shard_map`."""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pdeformer import dot_product_attention, sharding
from pdeformer.attention import explain
from pdeformer.attention.plain import kernel_choice, mosaic_kernel
from pdeformer.attention.plain.fused import _by_chunks, fused_attention
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.integrators.meshes import attention_axes
from tests.pdeformer.operators.fused.conftest import DENSE

T, N, H = 24, 4, 8
IDS = jnp.asarray(np.sort(np.random.default_rng(2).integers(0, 3, (8, T)), axis=1), jnp.int32)
SIZES = {"data": 2, "seq": 2, "model": 2}


def arrays(rows, key_heads):
    random = np.random.default_rng(0)
    shapes = (rows, T, N, H), (rows, T, key_heads, H), (rows, T, key_heads, H)
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def close(x, exact):
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max() + 1))


def with_gradients(attend):
    def run(*arrays):
        qkv, ids = arrays[:3], arrays[3:]
        output, pull = jax.vjp(lambda *qkv: attend(*qkv, *ids), *qkv)
        return output, pull(jnp.sin(output))

    return run


def plain(attend):
    return attend


def in_scan(attend):
    """Two layers; the second attends from the output of the first."""

    def layers(query, *rest):
        def layer(u, _):
            return u + attend(u, *rest), None

        return jax.lax.scan(jax.checkpoint(layer), query, None, 2)[0]

    return layers


def in_vmap(attend):
    return lambda query, *rest: jax.vmap(lambda q: attend(q, *rest))(jnp.stack([query, 2 * query]))


def in_shard_map(*names, check, mesh=None):
    """The axes `names` are manual around the attention, the others automatic."""
    spec = PartitionSpec("data" if "data" in names else None)

    def wrap(attend):
        return lambda *arrays: jax.shard_map(
            attend, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=set(names), check_vma=check
        )(*arrays)

    return wrap


PROGRAMS = {  # program, rows, key heads, rows and heads of a device
    "mapped layers": (lambda attend: in_vmap(in_scan(attend)), 4, 4, (2, 4)),
    "manual seq, checked, heads over model": (in_shard_map("seq", check=True), 2, 2, (1, 2)),
}
MORE_PROGRAMS = {
    "heads over model": (plain, 2, 2, (1, 2)),
    "key heads whole": (plain, 2, 1, (1, 4)),
    "nothing divides": (plain, 3, 1, (3, 4)),
    "mapped heads": (in_vmap, 1, 2, (1, 2)),
    "manual seq": (in_shard_map("seq", check=False), 4, 2, (1, 4)),
    "manual data": (in_shard_map("data", check=False), 4, 2, (2, 2)),
    "manual": (in_shard_map("data", "seq", "model", check=False), 4, 2, (2, 4)),
    "manual, checked": (in_shard_map("data", "seq", "model", check=True), 4, 2, (2, 4)),
}


@pytest.mark.parametrize(
    "case",
    [*PROGRAMS.values(), *(pytest.param(c, marks=pytest.mark.exhaustive) for c in MORE_PROGRAMS.values())],
    ids=[*PROGRAMS, *MORE_PROGRAMS],
)
def test_every_device_computes_its_own_examples_and_heads(case, monkeypatch):
    """The stand-in takes the place of the kernel; its scores tell how much a device computes."""
    monkeypatch.setitem(kernel_choice.MODULES, "mosaic", DENSE)
    monkeypatch.setitem(kernel_choice.PLATFORMS, "mosaic", ("cpu",))
    wrap, rows, key_heads, own = case
    qkv, ids = arrays(rows, key_heads), IDS[:rows]

    def attend_by(method):
        def attend(query, key, value, ids):
            options: Any = dict(is_causal=True, segment_ids=ids, method=method)
            options |= dict(dropout=0.2, dropout_key=jax.random.key(3))
            return dot_product_attention(query, key, value, **options)

        return with_gradients(wrap(attend))

    with jax.set_mesh(sharding.make_mesh(**SIZES)):
        compiled = jax.jit(attend_by("fused")).lower(*qkv, ids).compile()
        close(compiled(*qkv, ids), jax.jit(attend_by("chunked"))(*qkv, ids))
    text = compiled.as_text() or ""
    assert f"f32[{own[0]},{own[1]},{T},{T}]" in text
    assert own == (rows, N) or f"f32[{rows},{N},{T},{T}]" not in text


def test_the_interpreted_kernel_on_a_mesh_equals_chunks(monkeypatch):
    """Two query heads for each key head, packed, with a window, and padding that holds no number."""
    monkeypatch.setattr(mosaic_kernel, "LANES", 8)
    spec = KernelSpec("mosaic", -7, 3, 0.3, "highest", interpret=True)
    qkv, ids = arrays(2, 2), IDS[:2]
    padded = [jnp.where((ids > 0)[..., None, None], x, jnp.nan) for x in qkv]

    def kernel(query, key, value, ids):
        return fused_attention(spec, query, key, value, ids, ids).output

    def chunks(*qkv_and_ids):
        return _by_chunks(spec, *qkv_and_ids, qkv_and_ids[3])[0]

    with jax.set_mesh(sharding.make_mesh(**SIZES)):
        output = jax.jit(with_gradients(kernel))(*padded, ids)
    close(output, jax.jit(with_gradients(chunks))(*qkv, ids))


def test_rows_take_both_axes_or_leave_model_to_the_key_heads():
    axes = {"data": 4, "seq": 2, "model": 2}
    assert attention_axes(8, 4, axes) == (("data", "model"), None)
    assert attention_axes(4, 4, axes) == (("data",), "model")
    assert attention_axes(4, 3, axes) == (("data",), None)
    assert attention_axes(3, 4, axes) == (None, "model")
    assert attention_axes(3, 4, {"expert": 2}) == (None, None)


def kernels_of(attend, place=None, **options):
    x = jax.ShapeDtypeStruct((8, 128, 4, 8), jnp.bfloat16, sharding=place)
    with mock.patch.object(jax, "default_backend", return_value="tpu"):
        lowered = jax.jit(attend, **options).trace(x, x, x).lower(lowering_platforms=("tpu",))
    return lowered.as_text().count("tpu_custom_call")


def test_a_program_of_several_tpus_runs_the_kernel_where_its_mesh_is_known_when_it_is_traced():
    mesh, data = sharding.make_mesh(**SIZES), PartitionSpec("data")
    explicit = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    place = NamedSharding(mesh, data)

    def in_mesh(*arrays):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return dot_product_attention(*arrays)

    kernel_choice.lowering_error.cache_clear()  # whether a kernel can be lowered is not a matter of the mesh
    with jax.set_mesh(explicit):
        assert kernels_of(dot_product_attention, NamedSharding(explicit, data)) == 1
    each = in_shard_map(*SIZES, check=True, mesh=mesh)(with_gradients(dot_product_attention))
    assert kernels_of(each, place) == 3
    assert kernels_of(in_mesh, in_shardings=place) == kernels_of(dot_product_attention, place) == 1
    assert kernels_of(dot_product_attention, in_shardings=place) == 0


def test_explain_refuses_a_mesh_whose_axes_are_not_known():
    x = jax.ShapeDtypeStruct((8, 128, 4, 8), jnp.bfloat16)
    with jax.set_mesh(jax.make_mesh((2, 4), ("data", "expert"), axis_types=(AxisType.Auto,) * 2)):
        assert "axes data, expert" in str(explain(x, x, platform="tpu"))
        assert kernels_of(dot_product_attention) == 0
    assert explain(x, x, platform="tpu").name == "mosaic"
