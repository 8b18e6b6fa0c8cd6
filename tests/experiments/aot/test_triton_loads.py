"""What the programs of Triton kernels load and store: small kernels by hand, and ours against closed formulas.

Everything is lowered for a GPU on this machine, and nothing is compiled or run.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from experiments.roofline import hlo_text, total
from experiments.roofline.scalar_arithmetic import evaluate
from experiments.roofline.triton_loads import loads_of
from pdeformer.attention.plain import triton_kernel
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.integrators.kernels import pallas_gpu
from pdeformer.integrators.kernels.operator_steps import Operator

GRID, TOKENS, WIDTH = 4, 16, 32
BLOCK = TOKENS * WIDTH * 4
ARRAY = jax.ShapeDtypeStruct((GRID * TOKENS, WIDTH), jnp.float32)
DATA = jax.ShapeDtypeStruct((GRID,), jnp.int32)


def lowered(f, *arrays):
    """The text of a program that is lowered for a GPU, before its compilation."""
    computation = jax.jit(f).trace(*arrays).lower(lowering_platforms=("cuda",)).compiler_ir("hlo")
    assert computation is not None
    return computation.as_hlo_module().to_string()


def loads(f, *arrays):
    """The loads of all kernels of a program, in order."""
    computations = hlo_text.parse(lowered(f, *arrays)).computations.values()
    kernels = [loads_of(instruction) for computation in computations for instruction in computation.values()]
    return [kernel for kernel in kernels if kernel is not None]


def call(body, grid=(GRID,)):
    """A kernel that adds to zero what `body(program, load, data)` says, and stores a block for every program.

    `load(block)` loads a block of the array.
    """

    def kernel(data, source, target):
        def load(block, **options):
            return plgpu.load(source.at[pl.ds(block * TOKENS, TOKENS), :], **options)

        program = pl.program_id(0)
        target[...] = body(program, load, data)

    def run(data, array):
        return pl.pallas_call(
            kernel,
            grid=grid,
            in_specs=[pl.BlockSpec((GRID,), lambda *i: (0,)), pl.BlockSpec(ARRAY.shape, lambda *i: (0, 0))],
            out_specs=pl.BlockSpec((TOKENS, WIDTH), lambda *i: (i[0], 0)),
            out_shape=ARRAY,
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        )(data, array)

    return run


ZEROS = partial(jnp.zeros, (TOKENS, WIDTH), jnp.float32)


def loop(lower, upper, load):
    """The sum of the blocks from `lower` to `upper`."""
    return lax.fori_loop(lower, upper, lambda j, sums: sums + load(j), ZEROS())


def masked(program, load, data):
    del data
    mask = jnp.broadcast_to((jnp.arange(WIDTH) < 3)[None, :], (TOKENS, WIDTH))
    return load(program, mask=mask, other=0.0)


def doubled(program, load, data):
    """The loads of a loop that doubles its counter."""
    del program, data
    state = jnp.int32(1), ZEROS()
    return lax.while_loop(lambda state: state[0] < 8, lambda s: (2 * s[0], s[1] + load(0)), state)[1]


@pytest.mark.parametrize(
    ("body", "blocks", "numbers"),
    [
        pytest.param(lambda i, load, data: load(i), GRID, 0, id="a block each"),
        pytest.param(masked, GRID, 0, id="a mask changes nothing"),
        pytest.param(lambda i, load, data: loop(0, 3, load), 3 * GRID, 0, id="a loop of known length"),
        pytest.param(lambda i, load, data: loop(0, i + 1, load), 1 + 2 + 3 + 4, 0, id="a triangle"),
        pytest.param(
            lambda i, load, data: loop(i, 3, load), 3 + 2 + 1 + 0, 0, id="a triangle from the other end"
        ),
        pytest.param(
            lambda i, load, data: loop(i, 2, load), 2 + 1, 0, id="a loop that ends before it begins"
        ),
        pytest.param(
            lambda i, load, data: loop(jnp.maximum(i - 1, 0), i // 2 + 1, load), 1 + 1 + 1 + 0, 0, id="a band"
        ),
        pytest.param(
            lambda i, load, data: lax.fori_loop(0, i, lambda j, sums: sums + loop(0, 2, load), ZEROS()),
            2 * (0 + 1 + 2 + 3),
            0,
            id="a loop in a loop",
        ),
        pytest.param(
            lambda i, load, data: lax.cond(i > 0, lambda: load(i) + load(0), ZEROS), 2 * 3, 0, id="a branch"
        ),
        pytest.param(
            lambda i, load, data: lax.switch(i, (ZEROS, ZEROS, lambda: load(i), lambda: loop(0, 5, load))),
            0 + 0 + 1 + 5,
            0,
            id="a switch",
        ),
        pytest.param(
            lambda i, load, data: loop(0, lax.cond(i > 2, lambda: 3 * i, lambda: i), load),
            0 + 1 + 2 + 9,
            0,
            id="trips from a branch",
        ),
        pytest.param(
            lambda i, load, data: lax.cond(data[i] > 0, lambda: load(i), lambda: loop(0, 2, load)),
            2 * GRID,
            GRID,
            id="a branch by data is the dearer one",
        ),
    ],
)
def test_loads_of_a_kernel_by_hand(body, blocks, numbers):
    """Every program stores a block; `numbers` are the loads of one int32."""
    (kernel,) = loads(call(body), DATA, ARRAY)
    assert kernel.programs == GRID
    assert kernel.loaded == blocks * BLOCK + numbers * 4
    assert kernel.stored == GRID * BLOCK


def test_every_axis_of_the_grid_counts():
    (kernel,) = loads(call(lambda i, load, data: loop(0, i + pl.program_id(2), load), (4, 5, 3)), DATA, ARRAY)
    assert kernel.programs == 4 * 5 * 3
    assert kernel.loaded == 5 * sum(i + k for i in range(4) for k in range(3)) * BLOCK


def test_axes_beyond_three_share_an_index_of_the_grid():
    """A mapped axis is the fourth of the Pallas grid; a GPU has three, and the kernel divides."""
    run = call(lambda i, load, data: loop(0, i + 2 * pl.program_id(1), load), (4, 5, 3))
    data, array = (jax.ShapeDtypeStruct((2, *x.shape), x.dtype) for x in (DATA, ARRAY))
    (kernel,) = loads(jax.vmap(run), data, array)
    assert kernel.programs == 2 * 4 * 5 * 3
    assert kernel.loaded == 2 * 3 * sum(i + 2 * k for i in range(4) for k in range(5)) * BLOCK


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda i, load, data: loop(0, data[i], load), "depend on data or on another loop"),
        (doubled, "write it with `jax.lax.fori_loop`"),
    ],
)
def test_a_loop_whose_trips_depend_on_data_is_refused(body, words):
    with pytest.raises(ValueError, match=words):
        loads(call(body), DATA, ARRAY)


def test_a_kernel_without_its_code_is_refused_and_another_call_is_none():
    def instruction(target):
        line = (
            f'ROOT %k = f32[8] custom-call(%x), custom_call_target="{target}", backend_config={{grid_x = 1}}'
        )
        return hlo_text.parse(f"ENTRY %main (x: f32[8]) -> f32[8] {{\n{line}\n}}").computations["main"]["k"]

    assert loads_of(instruction("__cublas$gemm")) is None
    for target in ("__gpu$xla.gpu.triton", "triton_kernel_call"):
        with pytest.raises(ValueError, match=r"got '.*triton.*' without it"):
            loads_of(instruction(target))


def test_arithmetic_of_booleans():
    assert evaluate("constant", [], "value = false") == 0
    assert evaluate("xori", [evaluate("constant", [], "value = true")] * 2, "") == 0
    assert evaluate("addi", [None, 1], "") is None


def test_a_scan_around_a_kernel_counts_its_trips():
    run = call(lambda i, load, data: loop(0, i + 1, load))

    def scan(data, array):
        return lax.scan(lambda array, _: (run(data, array), None), array, length=7)[0]

    (kernel,) = loads(run, DATA, ARRAY)
    once = 2 * GRID * BLOCK + GRID * 4
    assert kernel.bytes == (10 + GRID) * BLOCK
    totals = total(lowered(scan, DATA, ARRAY))
    assert totals.loaded_bytes - totals.bytes == 7 * (kernel.bytes - once)


def test_without_kernels_loaded_and_moved_bytes_are_the_same():
    totals = total(lowered(lambda x: x @ x.T, ARRAY))
    assert totals.loaded_bytes == totals.bytes > 0


# Our attention. C queries and W keys of a block, as `triton_kernel._sizes` has them for heads of 64 in bfloat16.
LENGTH, HEAD, BATCH, HEADS = 1024, 64, 2, 4
FORWARD, BACKWARD = (128, 64), (64, 64)
CASES = [
    pytest.param({}, id="plain"),
    pytest.param({"high": 0}, id="causal"),
    pytest.param({"low": -199, "high": 0}, id="window"),
    pytest.param({"low": -100, "high": 100}, id="window on both sides"),
    pytest.param({"key_heads": 2}, id="grouped heads"),
    pytest.param({"high": 0, "segmented": True}, id="segments"),
    pytest.param({"dropout": 0.1, "key_heads": 1}, id="dropout"),
    pytest.param({"high": 0, "segmented": True, "dropout": 0.1, "key_heads": 2}, id="everything"),
]


def blocks_in_band(rows, columns, low, high):
    """Blocks of columns that all blocks of rows take: those with a pair low <= s - t <= high, without gaps."""
    count = LENGTH // columns
    blocks = 0
    for row in range(0, LENGTH, rows):
        first = 0 if low is None else max(row + low, 0) // columns
        last = count - 1 if high is None else min(row + rows - 1 + high, LENGTH - 1) // columns
        blocks += max(last + 1 - first, 0)
    return blocks


def attention(*, low=None, high=None, key_heads=HEADS, segmented=False, dropout=0.0):
    """The description of an attention, its arrays, and its marks."""
    spec = KernelSpec("triton", low, high, 0.125, "default", dropout=dropout)
    query = jax.ShapeDtypeStruct((BATCH, LENGTH, HEADS, HEAD), jnp.bfloat16)
    key = jax.ShapeDtypeStruct((BATCH, LENGTH, key_heads, HEAD), jnp.bfloat16)
    marks = 2 * [jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32)] if segmented else []
    if dropout:
        marks += [jax.ShapeDtypeStruct((BATCH, heads, LENGTH), jnp.uint32) for heads in (HEADS, key_heads)]
    return spec, query, key, marks


@pytest.mark.parametrize("options", CASES)
def test_loads_of_the_forward_attention_kernel(options):
    spec, query, key, marks = attention(**options)
    (kernel,) = loads(partial(triton_kernel.forward, spec), query, key, key, *marks)
    c, w = FORWARD
    token, mark = HEAD * 2, 4 * (len(marks) // 2)
    programs = BATCH * HEADS * (LENGTH // c)
    key_blocks = BATCH * HEADS * blocks_in_band(c, w, spec.low, spec.high)
    assert kernel.programs == programs
    assert kernel.loaded == programs * c * (token + mark) + key_blocks * w * (2 * token + mark)
    assert kernel.stored == programs * c * (token + 4)


@pytest.mark.parametrize("options", CASES)
def test_loads_of_the_backward_attention_kernels(options):
    spec, query, key, marks = attention(**options)
    rows = jax.ShapeDtypeStruct((BATCH, HEADS, LENGTH), jnp.float32)
    query_gradient, key_gradient = loads(
        partial(triton_kernel.backward, spec), query, key, key, *marks, rows, rows, query
    )
    c, w = BACKWARD
    token, mark = HEAD * 2, 4 * (len(marks) // 2)
    of_query, of_key = c * (2 * token + 8 + mark), w * (2 * token + mark)  # with dO, lse and δ; with V

    programs = BATCH * HEADS * (LENGTH // c)
    key_blocks = BATCH * HEADS * blocks_in_band(c, w, spec.low, spec.high)
    assert query_gradient.loaded == programs * of_query + key_blocks * of_key
    assert query_gradient.stored == programs * c * token

    programs = BATCH * key.shape[2] * (LENGTH // w)
    low, high = (None if bound is None else -bound for bound in (spec.high, spec.low))
    query_blocks = BATCH * HEADS * blocks_in_band(w, c, low, high)
    assert key_gradient.programs == programs
    assert key_gradient.loaded == programs * of_key + query_blocks * of_query
    assert key_gradient.stored == programs * w * 2 * token


def test_loads_of_a_head_that_is_no_power_of_two_have_its_padding():
    spec, *_ = attention()
    array = jax.ShapeDtypeStruct((1, LENGTH, 1, 40), jnp.bfloat16)
    (kernel,) = loads(partial(triton_kernel.forward, spec), array, array, array)
    c, w = FORWARD
    programs = LENGTH // c
    assert kernel.loaded == programs * (c + 2 * LENGTH) * 64 * 2
    assert kernel.stored == programs * c * (64 * 2 + 4)
    assert LENGTH % w == 0


@pytest.mark.parametrize("steps", [1, 4])
def test_the_diffusion_kernel_loads_every_token_for_every_tap(steps):
    """2n + 1 reads of a state of whole blocks, n + 1 taps of one number for every program, and one write."""
    batch, tokens, channels = 2, 256, 128
    state = jax.ShapeDtypeStruct((batch, tokens, channels), jnp.bfloat16)
    alpha = jax.ShapeDtypeStruct((1,), jnp.float32)
    operator = Operator(steps=steps)
    (kernel,) = loads(lambda u, alpha: pallas_gpu.apply(u, alpha, None, operator), state, alpha)
    size = batch * tokens * channels * 2
    assert kernel.programs == batch * (tokens // 64) * (channels // 64)
    assert kernel.loaded == (2 * steps + 1) * size + kernel.programs * (steps + 1) * 4
    assert kernel.stored == size
