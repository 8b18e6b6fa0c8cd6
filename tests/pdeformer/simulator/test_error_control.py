"""The adaptive simulation: equal to fine Runge-Kutta steps, and refusals. It needs the extra `simulator`."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig

pytest.importorskip("diffrax")
CONFIG = SimulatorConfig(layers=3, width=8, heads=2, ffn=16, splitting="parallel")


@pytest.mark.parametrize("shared", [False, True])
def test_it_is_the_limit_of_fine_steps(shared):
    config = replace(CONFIG, shared=shared)
    weights = simulator.init_weights(config, jax.random.key(0))
    u = jax.random.normal(jax.random.key(1), (1, 5, 8))
    coefficients = Coefficients(diffusion=0.2, dt=0.5)
    run = simulator.simulate_adaptive(u, weights, config, coefficients, rtol=1e-5)
    fine = replace(config, integrator="rk4", substeps=8)
    exact = simulator.simulate(
        u, weights, fine, coefficients._replace(dt=0.5 / 8), record=simulator.record_state
    )
    np.testing.assert_allclose(run.states, exact.records, atol=1e-4)
    assert np.all(run.is_accurate)
    assert np.all(np.asarray(run.steps) >= 1)


def test_too_few_steps_are_reported():
    weights = simulator.init_weights(CONFIG, jax.random.key(0))
    u = jax.random.normal(jax.random.key(1), (1, 5, 8))
    run = simulator.simulate_adaptive(u, weights, CONFIG, Coefficients(dt=50.0), max_steps=2)
    assert not np.any(run.is_accurate)


@pytest.mark.parametrize("change", [{"norm": "post"}, {"splitting": "sequential"}, {"diffusion": "exact"}])
def test_what_is_no_differential_equation_is_refused(change):
    config = replace(CONFIG, **change)
    weights = simulator.init_weights(config, jax.random.key(0))
    with pytest.raises(ValueError, match=next(iter(change))):
        simulator.simulate_adaptive(jax.random.normal(jax.random.key(1), (1, 5, 8)), weights, config)


def test_a_residual_switch_is_refused():
    weights = simulator.init_weights(CONFIG, jax.random.key(0))
    with pytest.raises(ValueError, match="residual"):
        simulator.simulate_adaptive(
            jax.random.normal(jax.random.key(1), (1, 5, 8)), weights, CONFIG, Coefficients(residual=0.0)
        )
