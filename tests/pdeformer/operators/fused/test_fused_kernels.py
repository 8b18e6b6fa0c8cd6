"""The kernels of TPU and GPU, run by JAX's interpreter, equal the stand-in with materialized scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer.attention.plain import mosaic_kernel, triton_kernel
from pdeformer.attention.plain.kernel_interface import BandBlocks, KernelSpec
from tests.pdeformer.operators.fused import dense_kernel

KERNELS = {"mosaic": mosaic_kernel, "triton": triton_kernel}
CASES = {  # T, S, N, K, H, low, high, segments, dropout
    "far keys, grouped, packed, ragged": (37, 37, 4, 2, 8, None, -3, True, 0.3),
    "window": (70, 70, 2, 2, 8, -7, 7, False, 0.0),
}
MORE_CASES = {
    "all": (40, 40, 2, 1, 8, None, None, False, 0.6),
    "other keys": (33, 50, 2, 2, 16, None, None, True, 0.0),
    "bottom-right window": (50, 30, 2, 2, 8, -23, -17, False, 0.1),
    "only later keys": (5, 70, 2, 2, 8, 60, None, True, 0.0),
    "no key at all": (7, 5, 1, 1, 8, None, -9, False, 0.5),
    "whole blocks": (64, 128, 1, 1, 8, None, 64, False, 0.0),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Make several blocks of a few tokens."""
    monkeypatch.setattr(mosaic_kernel, "QUERIES", 16)
    monkeypatch.setattr(mosaic_kernel, "KEYS", 32)
    monkeypatch.setattr(mosaic_kernel, "LANES", 8)
    sizes = {False: {"queries": 16, "keys": 32}, True: {"queries": 32, "keys": 16}}
    monkeypatch.setattr(triton_kernel, "_sizes", lambda query, *, backward: sizes[backward])


def check(kernel, case, *, batch=2):
    length, keys, heads, key_heads, width, low, high, segmented, dropout = case
    random = np.random.default_rng(length)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    query, d_output = normal(batch, length, heads, width), normal(batch, length, heads, width)
    key, value = normal(batch, keys, key_heads, width), normal(batch, keys, key_heads, width)
    ids = ()
    if segmented:
        key_ids = np.sort(random.integers(0, 4, (batch, keys)), axis=1)
        query_ids = key_ids if length == keys else np.sort(random.integers(0, 4, (batch, length)), axis=1)
        ids = jnp.asarray(query_ids), jnp.asarray(key_ids)
        query, key, value = (  # padding may hold anything
            jnp.where((i > 0)[..., None, None], x, jnp.nan)
            for i, x in zip((ids[0], ids[1], ids[1]), (query, key, value), strict=True)
        )
    bits = ()
    if dropout > 0:
        shapes = (batch, heads, length), (batch, key_heads, keys)
        bits = [jnp.asarray(random.integers(0, 2**32, shape, np.uint32)) for shape in shapes]
    spec = KernelSpec("", low, high, 0.4, "highest", interpret=True, dropout=dropout)
    marks = (*ids, *bits)
    output, lse = jax.jit(kernel.forward, static_argnums=0)(spec, query, key, value, *marks)
    exact_output, exact_lse = dense_kernel.forward(spec, query, key, value, *marks)
    np.testing.assert_allclose(output, exact_output, atol=3e-5)
    np.testing.assert_allclose(lse, exact_lse, atol=3e-5)
    delta = jnp.swapaxes((d_output * exact_output).sum(-1), 1, 2) - normal(batch, heads, length)
    arguments = spec, query, key, value, *marks, exact_lse, delta, d_output
    gradients = jax.jit(kernel.backward, static_argnums=0)(*arguments)
    for x, exact in zip(gradients, dense_kernel.backward(*arguments), strict=True):
        np.testing.assert_allclose(x, exact, atol=3e-5 * float(np.abs(exact).max() + 1))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_equals_materialized_attention(name):
    check(KERNELS[name], CASES["far keys, grouped, packed, ragged"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", [*CASES, *MORE_CASES])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_equals_materialized_attention_in_every_case(name, case):
    check(KERNELS[name], (CASES | MORE_CASES)[case])


@pytest.mark.parametrize(("low", "high"), [(None, None), (None, -5), (-7, 3), (4, None), (9, 20), (-40, -31)])
@pytest.mark.parametrize(("rows", "columns"), [(4, 8), (8, 4), (5, 3)])
def test_the_blocks_of_a_band_hold_all_its_pairs(low, high, rows, columns):
    blocks, count = 8, -(-8 * rows // columns)
    band = BandBlocks(rows, columns, count, low, high)
    t, s = np.arange(blocks * rows)[:, None], np.arange(count * columns)[None]
    mask = np.ones((t.size, s.size), bool)
    mask &= True if low is None else s >= t + low
    mask &= True if high is None else s <= t + high
    by_block = mask.reshape(blocks, rows, count, columns)
    for i in range(blocks):
        ran = range(int(band.first(i)), min(int(band.first(i)) + band.width, count))
        for j in range(count):
            needed = by_block[i, :, j].any()
            assert bool(band.any_pair(i, j)) == needed
            assert bool(band.all_pairs(i, j, s.size)) == by_block[i, :, j].all()
            assert not needed or (j in ran and j <= int(band.last(i)))
