"""Decompositions of batches: all ways of mapping, traces, compiled programs."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid.gaussian import systems
from pid.measures import decompose
from pid.measures.decomposition import make_measure
from tests.pid.measures.cases import (
    MEASURES,
    apply_maps,
    system,
    to_array,
)


@pytest.mark.parametrize("measure", MEASURES)
def test_batches_equal_single_systems_whatever_the_way_they_are_mapped(measure, x64):
    dims = (3, 4, 2)
    covs = np.stack([system(dims, seed) for seed in range(6)]).reshape(2, 3, 9, 9)
    covs[1, 1] = 0
    covs[1, 1, :, :] = np.eye(9)
    expected = np.array([[to_array(decompose(c, dims, measure=measure)) for c in row] for row in covs])

    def f(c):
        return jnp.stack(decompose(c, dims, measure=measure), axis=-1)

    batched_values = np.stack(decompose(covs, dims, measure=measure), axis=-1)
    np.testing.assert_allclose(batched_values, expected, atol=1e-13)
    for program in (
        f,
        jax.jit(f),
        jax.vmap(f),
        jax.vmap(jax.vmap(f)),
        jax.jit(jax.vmap(jax.jit(jax.vmap(f)))),
    ):
        np.testing.assert_allclose(program(jnp.asarray(covs)), expected, atol=1e-13)
    batched = jax.vmap(jax.vmap(jax.grad(lambda c: decompose(c, dims, measure=measure).unique_x)))(
        jnp.asarray(covs)
    )
    single = jax.grad(lambda c: decompose(c, dims, measure=measure).unique_x)(jnp.asarray(covs[0, 2]))
    np.testing.assert_allclose(batched[0, 2], single, atol=1e-12)


def test_the_batched_form_of_accelerators_equals_the_other(x64):
    """The batch has a singular system among regular ones."""
    dims = (3, 6, 2)
    regular, _ = apply_maps(
        system((3, 4, 2)), (3, 4, 2), [np.eye(3), np.eye(6, 4) + np.eye(6, 4, -2), np.eye(2)]
    )
    covs = np.stack([system(dims, 1), regular, system(dims, 2)])
    for measure in MEASURES:
        information_measure = make_measure(measure, dims, np.float64)
        batched = systems.evaluate_batch(information_measure, jnp.asarray(covs)).values
        alone = jnp.stack([systems.evaluate(information_measure, jnp.asarray(c)).values for c in covs])
        np.testing.assert_allclose(batched, alone, atol=1e-12)


def test_one_program_serves_all_systems_of_a_shape():
    dims = (2, 3, 5)
    decompose(system(dims), dims)
    size = systems.evaluate_leading_axes._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    for seed in range(3):
        decompose(system(dims, seed), dims)
    assert size() == before


def test_arrays_come_back_as_they_came():
    cov = system((2, 2, 2))
    assert isinstance(decompose(cov, (2, 2, 2)).union, np.ndarray)
    assert decompose(cov.astype(np.float32), (2, 2, 2)).union.dtype == np.float64
    assert decompose(cov.tolist(), (2, 2, 2)).union.shape == ()
    result = decompose(jnp.asarray(cov, jnp.float32), (2, 2, 2))
    assert isinstance(result.union, jax.Array)
    assert result.union.dtype == jnp.float32


VMAPPED = """
import jax, jax.numpy as jnp, numpy as np
from pid.measures import decompose
jax.config.update("jax_enable_x64", True)
h = np.random.default_rng(0).normal(size=(192, 40, 20)) * 0.17
covs = np.zeros((192, 60, 60))
covs[:, :20, :20] = np.eye(20)
covs[:, 20:, :20], covs[:, :20, 20:] = h, h.transpose(0, 2, 1)
covs[:, 20:, 20:] = h @ h.transpose(0, 2, 1) + np.eye(40)
f = jax.jit(jax.vmap(lambda c: decompose(c, (20, 20, 20)).unique_x))
g = jax.jit(jax.vmap(jax.grad(lambda c: decompose(c, (20, 20, 20)).unique_x)))
for _ in range(5):
    assert bool(jnp.isfinite(f(covs)).all()) and bool(jnp.isfinite(g(covs[:32])).all())
print("done")
"""


@pytest.mark.slow
def test_vmapped_systems_do_not_hang():
    """A vmapped graph of several LAPACK calls may block forever on CPU, so it runs in a process with a time limit."""
    root = Path(__file__).resolve().parents[3]
    process = subprocess.run(
        [sys.executable, "-c", VMAPPED], capture_output=True, text=True, timeout=180, cwd=root, check=False
    )
    assert process.stdout.strip() == "done", process.stderr
