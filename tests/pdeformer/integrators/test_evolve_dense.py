"""Every method of `evolve` equals dense matrices, on every boundary and segment pattern."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import evolve
from pdeformer.integrators.api import applicable_methods
from pdeformer.integrators.channel_blocks import map_channel_blocks
from tests.helpers.evolve_cases import (
    BOUNDARIES,
    CAUSAL,
    PDES,
    POSITIVE,
    SEGMENTS,
    WALLS,
    dense_evolve,
    methods,
)
from tests.helpers.sampling import sample

RNG = np.random.default_rng(0)


CASES = [(p, b, m) for p in PDES for b in BOUNDARIES for m in methods(PDES[p], b)]


@pytest.mark.parametrize(("name", "boundary", "method"), CASES)
def test_every_method_equals_dense_matrices_in_float64(name, boundary, method, x64):
    pde = PDES[name]
    y = evolve(jnp.asarray(POSITIVE), pde, steps=5, dt=0.9, boundary=boundary, method=method)
    reference = dense_evolve(POSITIVE, pde, steps=5, dt=0.9, boundary=boundary)
    np.testing.assert_allclose(y, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "boundary", "method"), [c for c in CASES if c[2] != "auto"])
def test_every_method_equals_dense_matrices_in_float32_for_32_steps(name, boundary, method):
    """The promised precision: the error of 32 steps is at most 1e-5 of the largest value."""
    pde, u = PDES[name], np.tile(POSITIVE, (4, 1))
    y = evolve(jnp.asarray(u, jnp.float32), pde, steps=32, boundary=boundary, method=method)
    reference = dense_evolve(u.astype(np.float32), pde, steps=32, boundary=boundary)
    assert np.abs(y - reference).max() <= 1e-5 * np.abs(reference).max()


SEGMENTED = [(p, b, False) for p in PDES for b in WALLS] + [(p, "neumann", True) for p in PDES if p != "wave"]


def on_segments(name, dtype, **arguments):
    """Yield (y, reference) for all segment patterns and every method, without padded tokens."""
    pde = PDES[name]
    u = np.where(SEGMENTS[..., None] > 0, POSITIVE, np.nan)  # padding must never be read
    exact = methods(pde, arguments["boundary"], segmented=True, causal=arguments["causal"])
    for method in exact:
        y = np.asarray(evolve(jnp.asarray(u, dtype), pde, segment_ids=SEGMENTS, method=method, **arguments))
        assert np.isnan(y[SEGMENTS == 0]).all()
        for row, ids in zip(y, SEGMENTS, strict=True):
            reference = dense_evolve(POSITIVE.astype(dtype), pde, segment_ids=ids, **arguments)
            yield row[ids > 0], reference[ids > 0]


@pytest.mark.parametrize(("name", "boundary", "causal"), SEGMENTED)
def test_every_segment_pattern_equals_dense_matrices_in_float64(name, boundary, causal, x64):
    for y, reference in on_segments(name, np.float64, steps=5, boundary=boundary, causal=causal):
        np.testing.assert_allclose(y, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "boundary", "causal"), sample(SEGMENTED, every=3))
def test_every_segment_pattern_equals_dense_matrices_in_float32_for_32_steps(name, boundary, causal):
    """Runs have one to 32 tokens, so in 32 steps most of them are crossed many times."""
    for y, reference in on_segments(name, np.float32, steps=32, boundary=boundary, causal=causal):
        assert np.abs(y - reference).max() <= 1e-5 * np.abs(reference).max()


@pytest.mark.parametrize("method", ["scan", "taps", "auto"])
@pytest.mark.parametrize("name", CAUSAL)
def test_causal_forms_equal_their_dense_definition(name, method, x64):
    y = evolve(jnp.asarray(POSITIVE), PDES[name], steps=5, dt=0.8, causal=True, method=method)
    reference = dense_evolve(POSITIVE, PDES[name], steps=5, dt=0.8, causal=True)
    np.testing.assert_allclose(y, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
@pytest.mark.parametrize("name", PDES)
def test_many_steps_on_a_few_tokens_reflect_many_times(name, length, x64):
    pde, u = PDES[name], POSITIVE[:length]
    cases = [
        (b, m, False) for b in BOUNDARIES for m in applicable_methods(pde, b, segmented=False, causal=False)
    ]
    if name != "wave":
        cases += [
            ("neumann", m, True) for m in applicable_methods(pde, "neumann", segmented=False, causal=True)
        ]

    @jax.jit
    def run(u):
        return [evolve(u, pde, steps=9, boundary=b, method=m, causal=causal) for b, m, causal in cases]

    for case, y in zip(cases, run(jnp.asarray(u)), strict=True):
        reference = dense_evolve(u, pde, steps=9, boundary=case[0], causal=case[2])
        np.testing.assert_allclose(y, reference, atol=1e-12, err_msg=str(case))


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 7), (6, 3, 2), (2, 9, 3, 1), (3, 1), (4, 3, 4)])
def test_a_state_in_parts_is_the_whole_state(shape):
    """The shapes include blocks that do not divide evenly, and operands of every shape."""
    u = jnp.asarray(RNG.normal(size=shape), jnp.float32)
    ones = (1,) * (len(shape) - 2)
    factors = [
        jnp.asarray(RNG.normal(size=s), jnp.float32) for s in (shape, (*ones, 1, shape[-1]), (*ones, 1, 1))
    ]

    def product(u, factors):
        return jnp.cumsum(u, axis=-2) * factors[0] * factors[1] + factors[2]

    np.testing.assert_allclose(map_channel_blocks(product, u, factors), product(u, factors), rtol=1e-6)
