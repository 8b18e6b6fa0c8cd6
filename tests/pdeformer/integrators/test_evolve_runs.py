"""One pass over segments and short sequences equals explicit steps; no number crosses a wall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, Wave, evolve, stencil
from pdeformer.integrators import reflection
from tests.helpers.evolve_cases import WALLS
from tests.pdeformer.integrators.kernel_cases import random_ids

RNG = np.random.default_rng(0)
U = RNG.normal(size=(6, 60, 5))
IDS = random_ids(RNG, 6, 60)
PDES = {"diffusion": Diffusion(0.3), "wave": Wave(0.9), "advection": AdvectionDiffusion(0.2, -0.4)}


@pytest.mark.parametrize("boundary", WALLS)
@pytest.mark.parametrize("name", PDES)
def test_taps_equal_explicit_steps_on_random_runs_with_their_gradients(name, boundary, x64):
    """With one coefficient for all channels: rows of the operator stand in a table where a wall is no mirror."""
    pde = jax.tree.map(jnp.asarray, PDES[name])
    graph = stencil.path(60, jnp.asarray(IDS), boundary, ndim=3)
    assert reflection.has_mirror(pde, graph) == (boundary != "copy" and name != "advection")
    assert reflection.has_table(pde.cast(jnp.float64, 3), jnp.asarray(U), graph, 3)
    cotangent = RNG.normal(size=U.shape)

    @jax.jit
    def run(u, pde):
        def by(method):
            y, pull = jax.vjp(
                lambda u, p: evolve(
                    u, p, steps=3, boundary=boundary, segment_ids=jnp.asarray(IDS), method=method
                ),
                u,
                pde,
            )
            return y, pull(jnp.asarray(cotangent))

        return by("taps"), by("scan")

    taps, scan = run(jnp.asarray(U), pde)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11, rtol=0), taps, scan)


@pytest.mark.parametrize("causal", [False, True])
def test_nan_in_one_run_reaches_no_other(causal):
    ids = np.repeat([1, 2, 1], [20, 20, 20])
    u = jnp.asarray(np.where(ids[:, None] == 2, np.nan, U[0]), jnp.float32)
    y = evolve(u, Diffusion(0.3), steps=5, segment_ids=jnp.asarray(ids), causal=causal, method="taps")
    np.testing.assert_array_equal(np.isnan(y[:, 0]), ids == 2)


def test_a_quotient_in_float32_is_exact():
    x, period = np.arange(-300, 70_000), np.array([[1], [2], [7], [64], [65_535], [60_000]])
    expected = np.mod(x[None], period)
    actual = reflection.modulo(jnp.asarray(x, jnp.int32)[None], jnp.asarray(period, jnp.int32))
    np.testing.assert_array_equal(actual, expected)
