"""Bad input of the simulator is refused with its remedy."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from pdeformer.simulator import Coefficients, SimulatorConfig, simulate
from tests.pdeformer.simulator.test_simulation import IDS, SMALL, state, weights

REFUSALS = {
    "layers": (lambda: SimulatorConfig(layers=0), "layers"),
    "norm": (lambda: SimulatorConfig(norm="batch"), "norm is one of"),
    "order": (lambda: SimulatorConfig(order=3), "order is one of"),
    "heads": (lambda: SimulatorConfig(width=10, heads=4), "divisible"),
    "splitting of order 2": (lambda: SimulatorConfig(order=2), "parallel"),
    "implicit and causal": (lambda: SimulatorConfig(causal=True, diffusion="implicit"), "explicit"),
    "state": (lambda: simulate(jnp.ones((2, 5, 9)), weights(), SMALL), r"\(B, T, 8\)"),
    "integers": (lambda: simulate(jnp.ones((2, 5, 8), int), weights(), SMALL), "floating"),
    "dt": (lambda: simulate(state(), weights(), SMALL, Coefficients(dt=0.0)), "dt is positive"),
    "nan": (lambda: simulate(state(), weights(), SMALL, Coefficients(attention=float("nan"))), "finite"),
    "diffusion": (lambda: simulate(state(), weights(), SMALL, Coefficients(diffusion=-1.0)), "at least 0"),
    "friction": (lambda: simulate(state(), weights(), SMALL, Coefficients(friction=1.0)), "order=2"),
    "tangent": (lambda: simulate(state(), weights(), SMALL, tangent=jnp.ones(3)), "tangent"),
    "reference": (lambda: simulate(state(), weights(), SMALL, reference=state()[None]), "after each layer"),
    "depth": (lambda: simulate(state(), weights(replace(SMALL, layers=2)), SMALL), "LayerNorms"),
    "segments": (
        lambda: simulate(state(), weights(), replace(SMALL, diffusion="exact"), segment_ids=IDS),
        "one segment",
    ),
    "causal weights": (
        lambda: simulate(state(), weights(replace(SMALL, causal=True)), SMALL),
        "causal=True",
    ),
    "no tangent": (lambda: simulate(state(), weights(), SMALL).lyapunov_exponent(1.0), "tangent"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_with_its_remedy(name):
    call, words = REFUSALS[name]
    with pytest.raises(ValueError, match=words):
        call()
