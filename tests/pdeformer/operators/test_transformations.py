"""Transformations of whole programs: an export for batches of any size, and a run without `jit`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, ReactionDiffusion, Wave, attention, evolve

pde_attention: Any = attention.pde_attention
U = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (3, 5, 4)), jnp.float32)


def heads(u):
    return [u.reshape(*u.shape[:-1], 2, 2)] * 3


FUNCTIONS = {
    "taps": lambda u: evolve(u, Diffusion(0.2), steps=2),
    "modes": lambda u: evolve(u, Diffusion(0.2), steps=65),
    "sines": lambda u: evolve(u, Wave(0.2), steps=65, boundary="dirichlet"),
    "plain": lambda u: attention.dot_product_attention(*heads(u), is_causal=True),
    "folded": lambda u: pde_attention(*heads(u), Diffusion(0.2), steps=2),
    "tiled": lambda u: pde_attention(*heads(u), ReactionDiffusion(0.2, 0.1), steps=2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_export_serves_batches_of_any_size(name):
    function = FUNCTIONS[name]
    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(jax.jit(function))(jax.ShapeDtypeStruct((batch, 5, 4), jnp.float32))
    for u in (U, U[:1]):
        np.testing.assert_allclose(exported.call(u), function(u), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_reaction_runs_without_jit(steps):
    pde = ReactionDiffusion(0.1, 0.2)
    expected = evolve(U, pde, steps=steps)
    with jax.disable_jit():
        np.testing.assert_allclose(evolve(U, pde, steps=steps), expected, rtol=1e-5)
