"""A grid of simulations: equal to single runs, split over devices, with the memory of one state a point."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import sharding, simulator
from pdeformer.simulator import Coefficients, SimulatorConfig, grid, simulate

CONFIG = SimulatorConfig(layers=3, width=8, heads=2, ffn=16)
RESIDUALS, GAINS, DTS = jnp.asarray([1.0, 0.0, 0.5, 1.0, 1.0]), jnp.asarray([1.0, 1, 1, 2, 1]), 1.0
SEEDS = jnp.asarray([0, 0, 1, 1, 2])


def run_point(residual, gain, seed):
    key = jax.random.key(seed)
    weights = simulator.init_weights(CONFIG, key, gain=gain)
    u = jax.random.normal(jax.random.fold_in(key, 1), (1, 6, 8))
    tangent = jax.random.normal(jax.random.fold_in(key, 2), u.shape)
    return simulate(
        u,
        weights,
        CONFIG,
        Coefficients(residual=residual),
        record=simulator.measure_state,
        tangent=tangent,
    )


def assert_same(a, b, tolerance=2e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_grid_is_its_single_runs(chunk):
    whole = simulator.run_grid(run_point, RESIDUALS, GAINS, SEEDS, chunk=chunk)
    for index in range(len(SEEDS)):
        single = run_point(RESIDUALS[index], GAINS[index], SEEDS[index])
        assert_same(jax.tree.map(lambda x, index=index: x[index], whole), single)


def test_a_grid_on_devices_is_the_grid_and_compiles_once():
    mesh = sharding.make_mesh(data=4, model=2)
    alone = simulator.run_grid(run_point, RESIDUALS, GAINS, SEEDS)
    before = grid.grid_program(())._cache_size()
    for _ in range(2):  # five points on four devices
        assert_same(simulator.run_grid(run_point, RESIDUALS, GAINS, SEEDS, mesh=mesh), alone)
    assert grid.grid_program(())._cache_size() == before + 1


def test_the_program_of_devices_exchanges_nothing():
    mesh = sharding.make_mesh(data=4, model=2)
    points = tuple(x[:4] for x in (RESIDUALS, GAINS, SEEDS))
    text = grid.grid_program(()).lower(points, run=run_point, mesh=mesh, chunk=None).compile().as_text()
    for name in ("all-reduce", "all-gather", "collective-permute", "all-to-all"):
        assert name not in text


def temporaries(layers):
    config = replace(CONFIG, layers=layers, shared=True, width=32)

    def run(residual, seed):
        key = jax.random.key(seed)
        u = jax.random.normal(key, (1, 64, 32))
        weights = simulator.init_weights(config, key)
        coefficients = Coefficients(residual=residual)
        return simulate(u, weights, config, coefficients, record=simulator.measure_state, tangent=u).records

    points = jnp.ones(6), jnp.arange(6)
    compiled = grid.grid_program(()).lower(points, run=run, mesh=None, chunk=None).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_the_memory_of_a_grid_does_not_grow_with_the_depth():
    records = 6 * 44 * 64 * 4  # eleven numbers a point and layer
    assert temporaries(64) <= temporaries(8) + 2 * records


def test_options_of_the_compiler_do_not_change_the_results():
    options = {"xla_backend_optimization_level": 1}
    points = RESIDUALS, GAINS, SEEDS
    quick = simulator.run_grid(run_point, *points, compiler_options=options)
    # other orders of sums, whose rounding errors the layers amplify
    assert_same(quick, simulator.run_grid(run_point, *points), tolerance=5e-4)


def test_bad_grids_are_refused():
    with pytest.raises(ValueError, match="leading axis"):
        simulator.run_grid(run_point, RESIDUALS, GAINS[:2], SEEDS)
    with pytest.raises(ValueError, match="leading axis"):
        simulator.run_grid(run_point, 1.0, GAINS, SEEDS)
