"""Measured faults of the official layer, and the corrected forms, which do not have them."""

import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, evolve
from tests.pdeformer.cta.official_cta import refine, row, run, states


def matrix(kind="diffusion", length=32, **options):
    """Return the matrix of the linear layer."""
    basis = jnp.eye(length)[None]
    return np.asarray(refine(basis, kind, **options))[0]


def alternating(length=64):
    return row((-1.0) ** np.arange(length))


def test_the_official_wave_is_diffusion_and_its_modes_never_change_sign(x64):
    x = states()
    diffusion = refine(x, "diffusion", alpha=0.0225, steps=4)
    np.testing.assert_allclose(refine(x, "wave", alpha=0.15, steps=4), diffusion, rtol=0, atol=1e-15)
    amplitude = alternating()[0, 32, 0] * refine(alternating(), "wave", alpha=0.15, steps=12)[0, 32, 0]
    assert 0 < amplitude < 1
    signs = [float(evolve(alternating(), Wave(0.15), steps=n)[0, 32, 0]) > 0 for n in range(15)]
    assert set(signs) == {True, False}  # `Wave` oscillates


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "steps", "gain"),
    [
        ("diffusion", 0.1, None, 1, 1.4),
        ("diffusion", 0.1, None, 4, 3.84),
        ("diffusion", 0.1, None, 8, 14.8),
        ("advection-diffusion", 0.1, 0.03, 1, 1.46),
        ("advection-diffusion", 0.0, 0.03, 1, 1.06),
    ],
)
def test_causal_steps_amplify_alternating_tokens_and_the_half_line_kernel_does_not(
    kind, alpha, beta, steps, gain, x64
):
    u = alternating()
    out = refine(u, kind, alpha=alpha, beta=beta, steps=steps, causal=True)
    exact = (1 + 4 * alpha + 2 * (beta or 0)) ** steps
    assert float(f"{exact:.3g}") == gain
    np.testing.assert_allclose((out / u)[0, 2 * steps :, 0], exact, rtol=1e-12)
    pde = Diffusion(alpha) if beta is None else AdvectionDiffusion(alpha, beta)
    assert jnp.max(jnp.abs(evolve(u, pde, steps=steps, causal=True))) <= 1 + 1e-14


@pytest.mark.parametrize(("steps", "norm"), [(1, 1.018), (4, 1.070), (8, 1.130)])
def test_copied_ends_expand_and_lose_mass_and_neumann_walls_do_not(steps, norm, x64):
    copied = matrix(alpha=0.1, steps=steps)
    assert abs(np.linalg.norm(copied, 2) - norm) < 5e-4  # the table of `cta` gives three decimals
    assert np.max(np.abs(copied.sum(axis=0) - 1)) > 0.05
    walls = np.asarray(evolve(jnp.eye(32), Diffusion(0.1), steps=steps))
    np.testing.assert_allclose(np.linalg.norm(walls, 2), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(walls.sum(axis=0), np.ones(32), rtol=0, atol=1e-14)
    boundary = np.asarray(evolve(jnp.eye(32), Diffusion(0.1), steps=steps, boundary="copy"))
    np.testing.assert_allclose(copied, boundary, rtol=0, atol=1e-14)


def test_the_official_reaction_runs_away_below_zero_and_the_exact_flow_does_not(x64):
    u = jnp.full((1, 3, 1), -1.0)
    out = refine(u, "reaction-diffusion", alpha=0.0, beta=0.02, steps=400)
    assert round(float(out[0, 1, 0])) == -2210
    line = row(np.concatenate([np.linspace(-30, 30, 120), [0.0, 0.0]]))  # 0 is not on the grid
    change = (refine(line, "reaction-diffusion", alpha=0.0, beta=0.02) - line)[0, 1:-1, 0]
    np.testing.assert_array_equal(change == 0, line[0, 1:-1, 0] == 0)
    exact = evolve(u, ReactionDiffusion(0.1, 0.02, "allen_cahn"), steps=400)
    assert jnp.max(jnp.abs(exact)) <= 1


def test_official_coefficients_are_unconstrained_and_evolve_refuses_them(x64):
    assert np.linalg.norm(matrix(alpha=0.6), 2) > 1.3
    assert np.linalg.norm(matrix(alpha=-0.1), 2) > 1.3
    for alpha in (0.6, -0.1):
        with pytest.raises(ValueError, match="alpha"):
            evolve(states(), Diffusion(alpha), steps=1)


def test_a_mask_does_not_part_packed_sequences_and_segments_do():
    u, ones = row([1.0, 1, 1, 5, 5, 5]), jnp.ones((1, 6))
    assert jnp.any(run(u, "diffusion", alpha=0.1, mask=ones) != u)
    segments = jnp.asarray([[1, 1, 1, 2, 2, 2]])
    np.testing.assert_array_equal(evolve(u, Diffusion(0.1), steps=1, segment_ids=segments), u)
