"""The kernels of `evolve` equal explicit steps, values and derivatives; "auto" picks them, and what they refuse."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from pdeformer import AdvectionDiffusion, Diffusion, evolve
from pdeformer.integrators.kernels import explain_refusal
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import banded_matrix, channel_filter, edge_codes, masked_steps
from tests.pdeformer.integrators.kernel_cases import by_kernel, by_scan, random_ids, value_and_gradients

# platform, (B, T, D), steps, one coefficient per channel, segments, causal
CASES = {
    "matrix": ("tpu", (1, 129, 2), 1, False, False, False),
    "matrix on segments": ("tpu", (2, 137, 3), 8, False, True, False),
    "matrix, causal on segments": ("tpu", (1, 130, 2), 5, False, True, True),
    "filter": ("tpu", (1, 150, 3), 16, True, False, False),
    "filter, causal": ("tpu", (1, 129, 2), 4, True, False, True),
    "steps on segments": ("tpu", (2, 137, 3), 8, True, True, False),
    "steps, causal on segments": ("tpu", (1, 130, 2), 3, True, True, True),
    "taps on segments": ("gpu", (2, 131, 3), 8, True, True, False),
    "taps": ("gpu", (1, 70, 2), 3, False, False, False),
    "taps, causal on segments": ("gpu", (1, 131, 3), 4, True, True, True),
}
RAGGED = {  # the last block has fewer tokens than a stencil, or a wall lies in the halo of the last but one
    "matrix, ragged": ("tpu", (1, 512 + 3, 130), 8, False, False, False),
    "matrix, ragged segments": ("tpu", (2, 1024 + 9, 4), 16, False, True, False),
    "matrix, causal and ragged": ("tpu", (1, 512 + 1, 4), 16, False, False, True),
    "filter, ragged": ("tpu", (1, 512 + 3, 600), 8, True, False, False),
    "filter, one token more": ("tpu", (1, 1024 + 1, 4), 13, True, False, False),
    "steps, ragged segments": ("tpu", (2, 512 + 9, 130), 16, True, True, False),
    "steps, causal on ragged segments": ("tpu", (1, 512 + 1, 600), 16, True, True, True),
    "filter, causal and ragged": ("tpu", (1, 512 + 3, 600), 16, True, False, True),
    "matrix, causal on ragged segments": ("tpu", (1, 512 + 9, 4), 16, False, True, True),
    "whole blocks": ("tpu", (1, 1024, 256), 4, True, False, False),
    "taps, causal": ("gpu", (2, 150, 70), 16, False, False, True),
    "many blocks of channels": ("gpu", (1, 200, 70), 13, True, True, False),
}


def check(platform, shape, steps, per_channel, segmented, causal, dtype=jnp.float32, atol=1e-5):
    rng = np.random.default_rng(shape[1])
    u, cotangent = (jnp.asarray(rng.normal(size=shape), dtype) for _ in range(2))
    alpha = jnp.asarray(rng.uniform(0.05, 0.5, size=shape[2:] if per_channel else ()), jnp.float32)
    ids = jnp.asarray(random_ids(rng, *shape[:2])) if segmented else None
    if ids is not None:
        u = jnp.where(ids[..., None] > 0, u, jnp.nan)  # padding must never be read
    results = [
        value_and_gradients(lambda u, a, f=f: f(u, a, ids, steps, causal=causal), u, alpha, cotangent)
        for f in (partial(by_kernel, platform), by_scan)
    ]
    for name, a, b in zip(("y", "u_bar", "alpha_bar"), *results, strict=True):
        scale = max(1.0, np.abs(b).max()) if name == "alpha_bar" else 1.0  # a sum over all tokens
        np.testing.assert_allclose(a, b, atol=atol * scale, rtol=0, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_a_kernel_equals_explicit_steps(case):
    check(*CASES[case])


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", RAGGED)
def test_a_kernel_equals_explicit_steps_on_ragged_blocks(case):
    check(*RAGGED[case])


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(8))
def test_a_kernel_equals_explicit_steps_on_a_random_call(seed):
    rng = np.random.default_rng(seed)
    platform = "gpu" if seed % 4 == 3 else "tpu"
    length = int(rng.integers(1 if platform == "gpu" else 128, rng.choice([140, 520, 700])))
    shape = (int(rng.integers(1, 3)), length, int(rng.choice([1, 5, 129, 520])))
    per_channel, segmented, causal = (bool(flag) for flag in rng.integers(0, 2, size=3))
    check(platform, shape, int(rng.integers(1, 17)), per_channel and shape[2] > 1, segmented, causal)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", ["matrix on segments", "filter", "steps on segments", "taps on segments"])
def test_a_kernel_computes_a_bfloat16_state_in_float32(case):
    check(*CASES[case], dtype=jnp.bfloat16, atol=2e-2)


def test_the_wall_of_a_short_last_block_is_a_mirror():
    """512 + 3 tokens: the wall lies in the halo of the first block, and three tokens in the second."""
    u = jnp.asarray(np.random.default_rng(0).normal(size=(1, 515, 2)), jnp.float32)
    for alpha in (jnp.float32(0.3), jnp.array([0.1, 0.5])):
        np.testing.assert_allclose(
            jax.jit(partial(by_kernel, "tpu", ids=None, steps=8))(u, alpha),
            by_scan(u, alpha, None, 8),
            atol=1e-5,
        )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "case",
    ["matrix on segments", "matrix, causal on segments", "filter, causal", "steps on segments", "taps"],
)
def test_forward_mode_second_derivatives_and_vmap_of_a_kernel_are_those_of_the_steps(case):
    platform, shape, steps, per_channel, segmented, causal = CASES[case]
    rng = np.random.default_rng(0)
    u, u_dot = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    ids = jnp.asarray(random_ids(rng, *shape[:2])) if segmented else None
    alpha = jnp.asarray(rng.uniform(0.05, 0.45, size=shape[2:] if per_channel else ()), jnp.float32)
    valid = jnp.ones((1, 1, 1), bool) if ids is None else ids[..., None] > 0

    def derivatives(f):
        def evolved(u, alpha):
            return jnp.where(valid, f(u, alpha, ids, steps, causal=causal), 0)

        def gradient_sum(alpha, u):
            return jnp.sum(jnp.sin(jax.grad(lambda u: jnp.sum(evolved(u, alpha) ** 2))(u)))

        @jax.jit
        def run(u, alpha):
            forward = jax.jvp(evolved, (u, alpha), (u_dot, jnp.ones_like(alpha)))[1]
            return forward, jax.grad(gradient_sum)(alpha, u), jax.vmap(evolved)(u[None], alpha[None])

        return run(u, alpha)

    for a, b in zip(derivatives(partial(by_kernel, platform)), derivatives(by_scan), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.exhaustive
def test_no_block_of_a_kernel_races_with_another():
    u = jnp.asarray(np.random.default_rng(0).normal(size=(1, 150, 4)), jnp.float32)
    interpret, steps = pltpu.InterpretParams(detect_races=True), Operator(3)
    alpha, codes = jnp.full(4, 0.2), edge_codes.encode_run(jnp.arange(150)[None], 150)
    for y in (
        banded_matrix.apply(u, alpha[0], None, steps, interpret=interpret),
        banded_matrix.apply(u, alpha[0], codes, steps, interpret=interpret),
        channel_filter.apply(u, alpha, steps, interpret=interpret),
        masked_steps.apply(u, alpha, codes, steps, interpret=interpret),
    ):
        np.testing.assert_allclose(y, by_scan(u, 0.2, None, 3), atol=1e-5)
    for y in (
        channel_filter.apply(u, alpha, steps._replace(causal=True), interpret=interpret),
        masked_steps.apply(u, alpha, codes, steps._replace(causal=True), interpret=interpret),
    ):
        np.testing.assert_allclose(y, by_scan(u, 0.2, None, 3, causal=True), atol=1e-5)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
@pytest.mark.parametrize("segmented", [False, True])
def test_auto_takes_the_kernel_of_the_platform(platform, segmented, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    u = jax.ShapeDtypeStruct((2, 256, 128), jnp.bfloat16)
    ids = jnp.ones((2, 256), jnp.int32) if segmented else None
    jaxpr = jax.make_jaxpr(lambda u: evolve(u, Diffusion(0.2), steps=8, segment_ids=ids))(u)
    assert "pallas_call" in str(jaxpr)
    for pde, steps in ((AdvectionDiffusion(0.1, 0.1), 8), (Diffusion(0.2), 17)):  # fails closed
        jaxpr = jax.make_jaxpr(lambda u, p=pde, n=steps: evolve(u, p, steps=n, segment_ids=ids))(u)
        assert "pallas_call" not in str(jaxpr)


REFUSALS = {
    "platform": (dict(platform="cpu"), "no kernel for the platform 'cpu'"),
    "equation": (dict(pde=AdvectionDiffusion(0.1, 0.1)), "written for Diffusion with boundary 'neumann'"),
    "boundary": (dict(boundary="copy"), "written for Diffusion with boundary 'neumann'"),
    "dtype": (dict(state=jnp.zeros((1, 256, 4), jnp.float16)), "take float32 and bfloat16, got float16"),
    "steps": (dict(steps=17), "1 to 16 steps and static shapes, got 17"),
    "tokens": (dict(state=jnp.zeros((1, 100, 4))), "need 128 tokens, got 100"),
    "batch": (dict(pde=Diffusion(np.full((2, 1, 4), 0.1))), r"or one per channel, got shape \(2, 1, 4\)"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_kernel_says_what_it_does_not_serve(name):
    changes, words = REFUSALS[name]
    call: dict[str, Any] = dict(
        pde=Diffusion(0.1),
        state=jnp.zeros((1, 256, 4)),
        platform="tpu",
        steps=4,
        boundary="neumann",
        segmented=False,
        causal=False,
    )
    assert explain_refusal(**call) is None
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(explain_refusal(**call | changes))
