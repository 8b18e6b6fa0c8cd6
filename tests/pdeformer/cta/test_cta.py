"""The official layer: by hand, against the numbers of the original and NumPy, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pdeformer import cta
from tests.pdeformer.cta.official_cta import (
    CASES,
    KINDS,
    LAYERS,
    MASKS,
    initial,
    numpy_refine,
    refine,
    row,
    run,
    states,
)

# By hand


@pytest.mark.parametrize(
    ("kind", "causal", "expected"),
    [
        ("diffusion", False, [0, 0.8, 0.3, 1.5, -0.3, 3]),
        ("diffusion", True, [0, 1, -0.2, 2.3, -1.5, 3.7]),
        ("wave", False, [0, 0.955, 0.0675, 1.8875, -0.8425, 3]),
        ("wave", True, [0, 1, -0.045, 2.0675, -1.1125, 3.1575]),
        ("reaction-diffusion", False, [0, 0.8053788, 0.3, 1.5047681, -0.3146212, 3]),
        ("reaction-diffusion", True, [0, 1, -0.2, 2.3047681, -1.5146212, 3.7028456]),
        ("advection-diffusion", False, [0, 0.8, 0.315, 1.485, -0.285, 3]),
        ("advection-diffusion", True, [0, 1, -0.23, 2.36, -1.59, 3.82]),
    ],
)
def test_one_step_by_hand(kind, causal, expected, x64):
    out = refine(row([0.0, 1, 0, 2, -1, 3]), kind, **initial(kind), causal=causal)
    np.testing.assert_allclose(out[0, :, 0], expected, rtol=0, atol=5e-8)


@pytest.mark.parametrize(
    ("causal", "masked", "steps", "expected"),
    [
        (False, True, 1, [0, 0.8, 0.3, 2, -1, 3]),
        (True, True, 1, [0, 1, -0.2, 2.3, -1, 3]),
        (False, False, 4, [0, 0.5227, 0.6115, 0.9375, 0.8732, 3]),
        (True, False, 4, [0, 1, -0.9282, 3.6655, -3.9013, 7.2242]),
    ],
)
def test_a_mask_and_four_steps_by_hand(causal, masked, steps, expected, x64):
    mask = jnp.asarray([[1, 1, 1, 1, 0, 0]]) if masked else None
    u = row([0.0, 1, 0, 2, -1, 3])
    out = run(u, "diffusion", alpha=0.1, steps=steps, causal=causal, mask=mask)
    # the expected values have four decimals
    np.testing.assert_allclose(out[0, :, 0], expected, rtol=0, atol=5e-5)


# Laws


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_rows_of_fewer_than_three_tokens_and_no_steps_change_nothing(kind, causal):
    for length, steps in ((0, 2), (1, 2), (2, 2), (5, 0)):
        x = states(length=length)
        out = refine(x, kind, **initial(kind), steps=steps, causal=causal)
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_pads_never_change_and_never_reach_a_value_or_a_gradient(kind, causal):
    x, valid = states(), jnp.asarray(MASKS[..., None] > 0)

    def loss(x, coefficients):
        out = cta.refine(x, kind, **coefficients, steps=3, causal=causal, mask=MASKS)
        return jnp.sum(jnp.sin(jnp.where(valid, out, 0))), out

    coefficients = {name: c for name, c in initial(kind).items() if c is not None}
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    clean, out = gradients(x, coefficients)
    with_nan, with_nan_out = gradients(jnp.where(valid, x, jnp.nan), coefficients)
    np.testing.assert_array_equal(jnp.where(valid, with_nan_out, 0), jnp.where(valid, out, 0))
    np.testing.assert_array_equal(jnp.where(valid, 0, out), jnp.where(valid, 0, x))
    jax.tree.map(np.testing.assert_array_equal, with_nan, clean)
    np.testing.assert_array_equal(jnp.where(valid, 0, clean[0]), jnp.zeros_like(x))


@pytest.mark.parametrize("kind", KINDS)
def test_causal_steps_have_exactly_no_gradient_from_later_tokens(kind):
    x = states(batch=1, length=7, channels=1)
    jacobian = jax.jacobian(lambda x: refine(x, kind, **initial(kind), steps=3, causal=True))(x)
    matrix = np.asarray(jacobian)[0, :, 0, 0, :, 0]
    np.testing.assert_array_equal(np.triu(matrix, 1), np.zeros((7, 7)))
    assert np.all(np.diag(matrix) != 0)
    before = refine(x, kind, **initial(kind), steps=3, causal=True)
    after = refine(x.at[:, 4:].set(100.0), kind, **initial(kind), steps=3, causal=True)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_round_to_the_dtype_of_the_state_after_every_step(kind):
    x = states(dtype=jnp.bfloat16)
    one_by_one = x
    for _ in range(4):
        one_by_one = refine(one_by_one, kind, **initial(kind))
    out = refine(x, kind, **initial(kind), steps=4)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, one_by_one)
    rounded_once = refine(x.astype(jnp.float32), kind, **initial(kind), steps=4).astype(jnp.bfloat16)
    assert jnp.any(out != rounded_once)
    # a single step is computed in float32
    step = refine(x.astype(jnp.float32), kind, **initial(kind)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(refine(x, kind, **initial(kind)), step)


def test_a_value_per_step_is_taken_step_by_step():
    x, alphas, betas = states(), jnp.asarray([0.3, -0.1, 0.05]), jnp.asarray([0.2, 0.0, -0.4])
    one_by_one = x
    for alpha, beta in zip(alphas, betas, strict=True):
        one_by_one = refine(one_by_one, "reaction-diffusion", alpha=alpha, beta=beta)
    out = refine(x, "reaction-diffusion", alpha=alphas, beta=betas, steps=3)
    np.testing.assert_allclose(out, one_by_one, rtol=0, atol=1e-6)


# Oracle


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['i']}-{c['pde']}")
def test_the_layer_gives_the_numbers_of_the_original(case):
    i, kind = case["i"], case["pde"]
    beta = case["beta"] if kind in cta.WITH_BETA else None
    mask = LAYERS[f"m{i}"] if case["masked"] else None
    options = {name: case[name] for name in ("alpha", "steps", "causal")}
    out = run(LAYERS[f"x{i}"], kind, beta=beta, mask=mask, **options)
    np.testing.assert_allclose(out, LAYERS[f"y{i}"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_the_layer_equals_a_loop_over_tokens_whatever_the_holes(kind, causal, x64):
    x, alpha = states(), [0.2, -0.1, 0.3]
    beta = [0.1, 0.3, -0.2] if kind in cta.WITH_BETA else None
    for mask in (None, MASKS, MASKS > 0, np.random.default_rng(1).integers(0, 2, MASKS.shape)):
        expected = numpy_refine(x, kind, alpha, beta, causal=causal, mask=mask)
        per_step = {"alpha": np.asarray(alpha), "beta": None if beta is None else np.asarray(beta)}
        out = run(x, kind, **per_step, steps=3, causal=causal, mask=mask)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)


# Gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_agree_with_finite_differences(kind, causal, x64):
    coefficients = {"alpha": jnp.asarray([0.2, -0.1])}
    if kind in cta.WITH_BETA:
        coefficients["beta"] = jnp.asarray([0.3, 0.1])

    def loss(x, coefficients):
        return jnp.sum(jnp.sin(run(x, kind, **coefficients, steps=2, causal=causal, mask=MASKS)))

    check_grads(loss, (states(), coefficients), order=1, modes=["rev"], eps=1e-6, atol=1e-8, rtol=1e-7)


# Refusal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "heat"}, "kind must be one of 'diffusion'.*'heat'"),
        ({"kind": "reaction-diffusion"}, "needs beta, got None; .*02"),
        ({"kind": "advection-diffusion"}, "needs beta, got None"),
        ({"x": np.ones((5, 3), np.float32)}, r"\(B, L, D\), got float32 \(5, 3\)"),
        ({"x": np.ones((2, 5, 3), np.int32)}, "floating hidden states .* got int32"),
        ({"alpha": np.ones(3)}, r"alpha must be a scalar or one value per step, \(2,\), got shape \(3,\)"),
        ({"kind": "reaction-diffusion", "beta": np.ones(1)}, r"beta must be .* got shape \(1,\)"),
        ({"alpha": np.inf}, "alpha must be finite"),
        ({"steps": -1}, "steps must be a Python integer >= 0, got -1"),
        ({"mask": np.ones((2, 4))}, r"mask must have one value per token, \(2, 5\), got shape \(2, 4\)"),
        ({"mask": np.ones(5)}, "one value per token"),
        ({"mask": np.full((2, 5), 2)}, "1 at valid tokens and 0 elsewhere.*segment_ids"),
    ],
)
def test_refine_refuses_what_the_official_layer_does_not_define(change, message):
    arguments = {"x": np.ones((2, 5, 3), np.float32), "kind": "diffusion", "alpha": 0.1, "steps": 2}
    with pytest.raises(ValueError, match=message):
        cta.refine(**(arguments | change))
