"""Calls of `evolve`: transformations, other axes, packed rows, short floats, and refused arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, Wave, evolve
from tests.helpers.evolve_cases import PDES, POSITIVE, D, T

RNG = np.random.default_rng(0)


def test_jit_vmap_and_other_axes_agree_with_the_plain_call():
    u = jnp.asarray(RNG.normal(size=(2, T, D)), jnp.float32)
    plain = evolve(u, Diffusion(0.2), steps=4)
    np.testing.assert_allclose(jax.jit(lambda u: evolve(u, Diffusion(0.2), steps=4))(u), plain, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda u: evolve(u, Diffusion(0.2), steps=4))(u), plain, atol=1e-6)
    along_first = evolve(jnp.moveaxis(u, 1, 0), Diffusion(0.2), steps=4, axis=0)
    np.testing.assert_allclose(jnp.moveaxis(along_first, 0, 1), plain, atol=1e-6)
    alphas = jnp.array([0.1, 0.4])
    batched = jax.vmap(lambda a, u: evolve(u, Diffusion(a), steps=4))(alphas, u)
    np.testing.assert_allclose(batched[1], evolve(u[1], Diffusion(0.4), steps=4), atol=1e-6)


def test_a_vector_of_tokens_is_a_column():
    u = jnp.arange(5.0)
    np.testing.assert_array_equal(
        evolve(u, Diffusion(0.2), steps=2, axis=0), evolve(u[:, None], Diffusion(0.2), steps=2)[:, 0]
    )


def test_packed_sequences_equal_separate_ones(x64):
    a, b = POSITIVE[:17], POSITIVE[17:]
    ids = jnp.asarray(np.repeat([1, 2], [17, 23]))
    packed = evolve(jnp.asarray(POSITIVE), Diffusion(0.3), steps=6, segment_ids=ids)
    separate = [evolve(jnp.asarray(x), Diffusion(0.3), steps=6) for x in (a, b)]
    np.testing.assert_allclose(packed, jnp.concatenate(separate), atol=1e-13)


def test_bfloat16_is_computed_in_float32_and_cast_once():
    u = jnp.asarray(POSITIVE, jnp.bfloat16)
    y = evolve(u, Diffusion(0.2), steps=8)
    assert y.dtype == jnp.bfloat16
    exact = evolve(u.astype(jnp.float32), Diffusion(0.2), steps=8).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y, exact)


def test_no_steps_return_the_state_itself():
    u = jnp.asarray(POSITIVE, jnp.float32)
    assert evolve(u, Wave(0.5), steps=0) is u


REFUSALS = {
    "integers": (dict(u=jnp.arange(6).reshape(3, 2)), "needs a real floating state, got dtype int32"),
    "negative steps": (dict(steps=-1), "steps must be a Python integer >= 0, got -1"),
    "no such axis": (dict(axis=2), r"axis 2 is not an axis of u, which has shape \(40, 3\)"),
    "no such method": (
        dict(method="euler"),
        "method must be one of auto, scan, taps, spectral, kernel, got 'euler'",
    ),
    "a kernel on CPU": (
        dict(method="kernel"),
        "method 'kernel' does not serve this call: there is no kernel for the platform 'cpu'; use 'auto'",
    ),
    "no such boundary": (dict(boundary="reflect"), "boundary must be one of neumann, periodic"),
    "segments on a ring": (
        dict(boundary="periodic", segment_ids=jnp.ones(T, jnp.int32)),
        "knows no segments, got segment_ids; use 'neumann'",
    ),
    "modes on segments": (
        dict(method="spectral", segment_ids=jnp.ones(T, jnp.int32)),
        "segment_ids given; use 'scan' or 'taps'",
    ),
    "taps on a reaction": (
        dict(pde=PDES["allen-cahn"], method="taps"),
        "does not serve ReactionDiffusion.*use 'scan'",
    ),
    "advection modes at walls": (
        dict(pde=PDES["advection"], method="spectral"),
        "use 'scan' or 'taps' or 'auto'",
    ),
    "causal wave": (dict(pde=PDES["wave"], causal=True), "Wave has no causal form.*use Diffusion"),
    "causal ring": (
        dict(causal=True, boundary="periodic"),
        "defined for boundary 'neumann' only, got 'periodic'",
    ),
    "segments too short": (dict(segment_ids=jnp.ones(T - 1, jnp.int32)), r"must broadcast against.*\(40,\)"),
    "segments not whole": (
        dict(segment_ids=jnp.ones(T)),
        "segment_ids must be integers or booleans, got dtype float32",
    ),
    "channels": (dict(pde=Diffusion(np.full(4, 0.1))), r"one value per channel, \(3,\), got shape \(4,\)"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_evolve_refuses(name):
    arguments, words = REFUSALS[name]
    call = dict(u=jnp.asarray(POSITIVE, jnp.float32), pde=Diffusion(0.1), steps=2) | arguments
    with pytest.raises(ValueError, match=words):
        evolve(call.pop("u"), call.pop("pde"), **call)
