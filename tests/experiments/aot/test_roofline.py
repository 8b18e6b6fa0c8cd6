"""Operations of traced programs, blocks that kernels fetch again, and the least time of a chip."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from experiments.roofline import CHIPS, estimate, hlo_text, matrix_flops, total
from experiments.roofline.mosaic_kernels import kernel_of
from pdeformer.attention import dot_product_attention

PRODUCT = 2 * 8 * 16 * 4


def traced(f, *shapes, dtype=jnp.float32):
    return jax.jit(f).trace(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)).jaxpr


def test_operations_of_a_product_by_type_and_precision():
    shapes = ((8, 16), (16, 4))
    assert matrix_flops(traced(jnp.matmul, *shapes)) == {"float32 default": PRODUCT}
    assert matrix_flops(traced(jnp.matmul, *shapes, dtype=jnp.bfloat16)) == {"bfloat16": PRODUCT}
    highest = partial(jnp.matmul, precision="highest")
    assert matrix_flops(traced(highest, *shapes)) == {"float32 highest": PRODUCT}
    one_pass = partial(jax.lax.dot, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32)
    assert matrix_flops(traced(one_pass, *shapes)) == {"float32 default": PRODUCT}


def test_operations_of_attention_and_its_gradient_which_are_primitives_of_ours():
    shape = (1, 16, 2, 8)
    product = 2 * 2 * 16 * 16 * 8  # queries times keys of two heads
    attend = partial(dot_product_attention, method="chunked")
    gradient = jax.grad(lambda *arrays: jnp.sum(attend(*arrays)), (0, 1, 2))
    assert sum(matrix_flops(traced(attend, *[shape] * 3)).values()) == 2 * product
    assert sum(matrix_flops(traced(gradient, *[shape] * 3)).values()) == 7 * product


def test_operations_of_a_batched_product_its_gradient_and_a_convolution():
    einsum = partial(jnp.einsum, "bij,bjk->bik")
    assert sum(matrix_flops(traced(einsum, (3, 8, 16), (3, 16, 4))).values()) == 3 * PRODUCT
    gradient = jax.grad(lambda a, b: jnp.sum((a @ b) ** 2), (0, 1))
    assert sum(matrix_flops(traced(gradient, (8, 16), (16, 4))).values()) == 3 * PRODUCT

    def convolve(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "VALID")

    flops = matrix_flops(traced(convolve, (2, 3, 10, 10), (5, 3, 3, 3)))
    assert sum(flops.values()) == 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)


def test_loops_branches_and_rematerialization():
    def scan(c):
        return jax.lax.scan(lambda c, _: (c @ c, None), c, length=7)[0]

    def loop(c):
        return jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ c, c)

    def branch(c):
        return jax.lax.cond(c[0, 0] > 0, lambda c: c @ c @ c, lambda c: c @ c, c)

    square = 2 * 8**3
    assert sum(matrix_flops(traced(scan, (8, 8))).values()) == 7 * square
    assert sum(matrix_flops(traced(loop, (8, 8)), unknown_trips=2.5).values()) == 2.5 * square
    assert sum(matrix_flops(traced(branch, (8, 8))).values()) == 2 * square
    remat = jax.grad(lambda c: jnp.sum(jax.checkpoint(lambda c: jnp.sin(c @ c))(c)))
    assert sum(matrix_flops(traced(remat, (8, 8))).values()) == 4 * square


def test_a_shard_map_counts_on_every_device():
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    for axes in ({"x"}, {"x", "y"}):
        f = jax.shard_map(
            lambda a: a @ a.T,
            mesh=mesh,
            in_specs=jax.P("x"),
            out_specs=jax.P("x"),
            axis_names=axes,
            check_vma=False,
        )
        inner = 2 * 2 * 2 * 16  # (2, 16) times (16, 2) on each device
        assert sum(matrix_flops(traced(f, (8, 16))).values()) == (4 if axes == {"x"} else 8) * inner


def kernel_of_call(call, *shapes):
    """The kernel of a Pallas call, lowered for a TPU without its compiler, as a line of a compiled program."""
    device = jax.sharding.AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    axes = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((1,), ("x",), axis_types=axes, abstract_device=device)
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    with jax.sharding.use_abstract_mesh(mesh):
        text = jax.jit(call).trace(*arrays).lower(lowering_platforms=("tpu",)).as_text()
    body = re.search(r"body\\22: ?\\22([A-Za-z0-9+/=]+)", text)
    assert body is not None, text[:3000]
    kinds = [f"{'f32' if d == jnp.float32 else 's32'}[{','.join(map(str, s))}]" for s, d in shapes]
    names = ", ".join(f"%a{i}" for i in range(len(shapes)))
    lines = [
        *(f"%a{i} = {kind} parameter({i})" for i, kind in enumerate(kinds)),
        f'ROOT %k.1 = f32[32,128] custom-call({names}), custom_call_target="tpu_custom_call", '
        f'backend_config={{"custom_call_config":{{"body":"{body.group(1)}"}}}}',
    ]
    program = "\n".join(("ENTRY %main (a: f32[]) -> f32[] {", *lines, "}"))
    return kernel_of(hlo_text.parse(program).computations["main"]["k.1"]), total(program)


SOURCE = ((32, 128), jnp.float32)
BLOCK = 8 * 128 * 4


def copy_kernel(index_map, grid, memory_space=None):
    """Copy blocks (8, 128) of a (32, 128) array; the index map says which."""

    def kernel(source, target):
        target[...] = jnp.zeros((8, 128)) if memory_space else source[...] * 2

    block = pl.BlockSpec(memory_space=memory_space) if memory_space else pl.BlockSpec((8, 128), index_map)
    out = pl.BlockSpec((8, 128), lambda *index: (index[0], 0))
    shape = jax.ShapeDtypeStruct((8 * grid[0], 128), jnp.float32)
    return pl.pallas_call(kernel, grid=grid, in_specs=[block], out_specs=out, out_shape=shape)


@pytest.mark.parametrize(
    ("index_map", "grid", "blocks"),
    [
        (lambda i: (i, 0), (4,), 4),
        (lambda i: (i // 2, 0), (8,), 4),
        (lambda i: (i % 4, 0), (8,), 8),
        (lambda i: (0, 0), (8,), 1),
        (lambda i: (jnp.maximum(i - 1, 0), 0), (4,), 3),
        (lambda i: (jnp.minimum(i + 1, 3), 0), (4,), 3),
        (lambda i: (jnp.where(i > 1, 3, i), 0), (4,), 3),
        (lambda i, j: (j, 0), (4, 4), 16),
        (lambda i, j: (i, 0), (4, 4), 4),
    ],
)
def test_a_block_is_fetched_when_its_index_changes(index_map, grid, blocks):
    kernel, totals = kernel_of_call(copy_kernel(index_map, grid), SOURCE)
    assert kernel is not None
    assert kernel.steps == math.prod(grid)
    assert kernel.bytes == (blocks * BLOCK, grid[0] * BLOCK)
    assert totals.bytes == sum(kernel.bytes)
    assert totals.kernel_steps == {"k.1": math.prod(grid)}


def test_an_array_that_a_kernel_copies_itself_counts_once():
    kernel, _ = kernel_of_call(copy_kernel(None, (4,), pl.ANY), SOURCE)
    assert kernel is not None
    assert kernel.bytes == (4 * BLOCK, 4 * BLOCK)


def test_an_index_that_depends_on_data_is_fetched_in_every_step():
    def kernel_body(order, source, target):
        del order
        target[...] = source[...]

    spec = pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=1,
        grid=(4,),
        in_specs=[pl.BlockSpec((8, 128), lambda i, order: (order[i], 0))],
        out_specs=pl.BlockSpec((8, 128), lambda i, order: (i, 0)),
    )
    shape = jax.ShapeDtypeStruct((32, 128), jnp.float32)
    call = pl.pallas_call(kernel_body, grid_spec=spec, out_shape=shape)
    kernel, _ = kernel_of_call(call, ((4,), jnp.int32), SOURCE)
    assert kernel is not None
    assert kernel.bytes == (16, 4 * BLOCK, 4 * BLOCK)


def test_operations_of_a_kernel_are_those_of_its_grid():
    def kernel(a, out):
        out[...] = a[...] @ a[...]

    def call(x):
        block = pl.BlockSpec((8, 8), lambda i: (i % 2, 0))
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return pl.pallas_call(kernel, grid=(4,), in_specs=[block], out_specs=block, out_shape=shape)(x)

    def loop(x):
        return jax.lax.scan(lambda x, _: (call(x), None), x, length=3)[0]

    assert sum(matrix_flops(traced(loop, (16, 8))).values()) == 3 * 4 * 2 * 8**3


def test_least_and_expected_time():
    chip = CHIPS["v5e"]
    times = estimate(
        chip, flops={"bfloat16": 197e9}, moved=4 * 819e6, least_bytes=819e6, collective_bytes={}, cycles=3e6
    )
    assert times.compute == pytest.approx(1e-3)
    assert times.memory == pytest.approx(4e-3)
    assert times.cycles == pytest.approx(2e-3)
    assert times.least == pytest.approx(1e-3)
    assert (times.expected, times.bound_by, times.share) == (times.memory, "memory", pytest.approx(0.25))


def test_precision_and_network():
    chip = CHIPS["v5e"]
    assert chip.rate("float32 highest") == pytest.approx(chip.rate("bfloat16") / 6)
    assert CHIPS["H100"].rate("float32 highest") == pytest.approx(67e12)
    both = {"all-reduce": 1e6, "all-gather": 1e6}
    times = estimate(chip, flops={}, moved=0, least_bytes=0, collective_bytes=both, cycles=0)
    assert times.network == pytest.approx(3e6 / chip.network)
    assert times.bound_by == "network"
