"""The simulator: a Transformer, a diffusion and a wave are settings of it; switches, order, non-finite states."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer import Classifier, Diffusion, ModelConfig, Wave, diagnostics, evolve, simulator
from pdeformer.layers import StencilConfig
from pdeformer.simulator import Coefficients, SimulatorConfig, simulate
from pdeformer.simulator.time_step import change

SMALL = SimulatorConfig(layers=3, width=8, heads=2, ffn=16)
OFF = Coefficients(attention=0.0, feed_forward=0.0)
IDS = jnp.asarray([[1, 1, 1, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 1]])


def state(seed=0, batch=2, tokens=7, width=8):
    return jax.random.normal(jax.random.key(seed), (batch, tokens, width))


def weights(config=SMALL, seed=1, gain=1.0):
    return simulator.init_weights(config, jax.random.key(seed), gain=gain)


def random_parameters(model, seed=3):
    """The model with every parameter moved, so that scales of norms and biases matter."""
    graphdef, params = nnx.split(model)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, moved))


def layer_norm(u, scale, bias):
    centered = u - u.mean(-1, keepdims=True)
    return scale * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) + bias


def numpy_layer(block, u, *, rho, dt, norm, diffusion=0.0, attention=1.0):
    """One sequential Euler step written out in NumPy."""

    def dense(module, x):
        return x @ np.asarray(module.kernel[...], float) + (
            0 if module.bias is None else np.asarray(module.bias[...])
        )

    def normed(module, x):
        return layer_norm(x, np.asarray(module.scale[...], float), np.asarray(module.bias[...], float))

    def attend(x):
        heads = block.attention.heads
        q, k, v = (
            dense(m, x).reshape(*x.shape[:2], heads, -1)
            for m in (block.attention.query, block.attention.key, block.attention.value)
        )
        scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
        p = np.exp(scores - scores.max(-1, keepdims=True))
        out = np.einsum("bnts,bsnh->btnh", p / p.sum(-1, keepdims=True), v)
        return attention * dense(block.attention.out, out.reshape(x.shape))

    def feed_forward(x):
        return dense(block.ffn.down, np.asarray(jax.nn.gelu(jnp.asarray(dense(block.ffn.up, x)))))

    for sublayer, module in ((attend, block.norm_attention), (feed_forward, block.norm_ffn)):
        u = rho * u + dt * sublayer(normed(module, u) if norm == "pre" else u)
        u = normed(module, u) if norm == "post" else u
    padded = np.pad(u, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return u + dt * diffusion * (padded[:, 2:] - 2 * u + padded[:, :-2])


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("ids", [None, IDS], ids=["one segment", "segments"])
def test_the_default_simulation_is_the_stack_of_blocks(norm, ids):
    model = random_parameters(
        Classifier(ModelConfig(16, width=8, heads=2, ffn=16, layers=3, norm=norm), rngs=nnx.Rngs(0))
    )
    u = state()
    run = simulate(u, simulator.weights_of(model.blocks), replace(SMALL, norm=norm), segment_ids=ids)
    expected = model.run_blocks(u, ids, None)
    mask = 1.0 if ids is None else (ids > 0)[..., None]
    np.testing.assert_allclose(run.u * mask, expected * mask, atol=1e-5)


def test_with_diffusion_it_is_the_model_with_a_heat_layer_between_the_layers():
    config = ModelConfig(
        16,
        width=8,
        heads=2,
        ffn=16,
        layers=3,
        placements=("between_layers",),
        stencil=StencilConfig("heat", alpha=0.2),
    )
    model = Classifier(config, rngs=nnx.Rngs(0))
    plain = Classifier(replace(config, placements=()), rngs=nnx.Rngs(0))
    u = state()
    run = simulate(u, simulator.weights_of(plain.blocks), SMALL, Coefficients(diffusion=0.2))
    np.testing.assert_allclose(run.u, model.run_blocks(u, None, None), atol=1e-5)
    with pytest.raises(ValueError, match="Coefficients"):
        simulator.weights_of(model.blocks)


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
@pytest.mark.parametrize(("rho", "dt"), [(1.0, 1.0), (0.0, 1.0), (0.7, 0.5)])
def test_every_switch_is_its_equation(norm, rho, dt):
    config = replace(SMALL, norm=norm)
    drawn = weights(config)
    graphdef = drawn.graphdef
    drawn = simulator.SimulatorWeights(
        nnx.split(random_parameters(nnx.merge(graphdef, drawn.params)))[1], graphdef
    )
    u = state()
    coefficients = Coefficients(residual=rho, dt=dt, diffusion=0.3, attention=0.8)
    run = simulate(u, drawn, config, coefficients, record=simulator.record_state)
    expected = np.asarray(u, float)
    for index in range(config.layers):
        expected = numpy_layer(
            drawn.layer(index).block(), expected, rho=rho, dt=dt, norm=norm, diffusion=0.3, attention=0.8
        )
        np.testing.assert_allclose(run.records[index], expected, atol=2e-5)
    np.testing.assert_array_equal(run.records[-1], run.u)


@pytest.mark.parametrize("rho", [1.0, 0.4])
def test_the_parallel_step_adds_all_forces(rho):
    config = replace(SMALL, layers=1, splitting="parallel", norm="none")
    drawn, u = weights(config), state()
    block = drawn.layer(0).block()
    force = block.attention(u, None, key=None) + block.ffn(u, key=None)
    heat = 0.3 * (evolve(u, Diffusion(0.5), steps=1) - u) / 0.5
    run = simulate(u, drawn, config, Coefficients(residual=rho, diffusion=0.3, dt=0.5))
    np.testing.assert_allclose(run.u, rho * u + 0.5 * (force + heat), atol=1e-5)


@pytest.mark.parametrize("splitting", ["sequential", "parallel"])
@pytest.mark.parametrize("causal", [False, True])
def test_diffusion_alone_is_evolve(splitting, causal):
    config = replace(SMALL, layers=2, substeps=3, splitting=splitting, norm="none", causal=causal)
    u = state()
    run = simulate(u, weights(config), config, OFF._replace(diffusion=0.6, dt=0.5), segment_ids=IDS)
    expected = u
    for _ in range(6):  # n causal steps at once are another kernel than n single ones
        expected = evolve(expected, Diffusion(0.6), steps=1, dt=0.5, segment_ids=IDS, causal=causal)
    np.testing.assert_allclose(run.u, expected, atol=1e-5)
    if not causal:
        whole = evolve(u, Diffusion(0.6), steps=6, dt=0.5, segment_ids=IDS)
        np.testing.assert_allclose(run.u, whole, atol=1e-5)


def test_a_coefficient_may_differ_by_channel():
    alphas = jnp.linspace(0, 0.5, 8)
    run = simulate(state(), weights(), SMALL, OFF._replace(diffusion=alphas))
    np.testing.assert_allclose(run.u, evolve(state(), Diffusion(alphas), steps=3), atol=1e-5)


def test_second_order_without_forces_but_diffusion_is_the_wave_equation():
    config = replace(SMALL, layers=5, order=2, splitting="parallel", norm="none")
    run = simulate(state(), weights(config), config, OFF._replace(diffusion=0.49, dt=0.9))
    np.testing.assert_allclose(run.u, evolve(state(), Wave(0.7), steps=5, dt=0.9), atol=1e-5)


def test_second_order_with_no_force_moves_at_constant_velocity_and_friction_slows_it():
    config = replace(SMALL, layers=4, order=2, splitting="parallel", norm="none")
    u, v = state(), state(5)
    run = simulate(u, weights(config), config, OFF._replace(dt=0.5), velocity=v)
    np.testing.assert_allclose(run.u, u + 2 * v, atol=1e-5)
    run = simulate(u, weights(config), config, OFF._replace(dt=0.5, friction=0.4), velocity=v)
    np.testing.assert_allclose(jnp.asarray(run.velocity), 0.8**4 * v, atol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "implicit"])
def test_stiff_diffusion_forms_are_the_matrix_functions(kind, x64):
    u = state(tokens=6)
    config = replace(SMALL, layers=2, norm="none", diffusion=kind)
    graph = -2 * np.eye(6) + np.eye(6, k=1) + np.eye(6, k=-1)
    graph[0, 0] = graph[-1, -1] = -1
    exponent = 3.0 * 0.5 * graph
    if kind == "implicit":
        matrix = np.linalg.inv(np.eye(6) - exponent)
    else:
        values, vectors = np.linalg.eigh(exponent)
        matrix = vectors @ np.diag(np.exp(values)) @ vectors.T
    run = simulate(u, weights(config), config, OFF._replace(diffusion=3.0, dt=0.5))
    np.testing.assert_allclose(run.u, np.einsum("ts,bsd->btd", matrix @ matrix, u), atol=1e-12)


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
@pytest.mark.parametrize("time_order", [1, 2])
def test_integrators_converge_with_their_order(integrator, order, time_order, x64):
    """A smooth problem: attention, feed-forward (GELU) and diffusion of a shared layer, against 512 steps of RK4."""
    if time_order == 2 and integrator == "euler":
        order = 2  # the leapfrog
    config = replace(
        SMALL,
        layers=1,
        shared=True,
        splitting="parallel",
        norm="pre",
        order=time_order,
        integrator=integrator,
    )
    drawn, u = weights(config), state(tokens=5)

    def final(substeps, name):
        return simulate(
            u,
            drawn,
            replace(config, substeps=substeps, integrator=name),
            Coefficients(diffusion=0.2, dt=1 / substeps),
        ).u

    exact = final(512, "rk4")
    counts = np.array([16, 32, 64] if order < 4 else [4, 8, 16])
    errors = [float(np.abs(np.asarray(final(int(n), integrator) - exact)).max()) for n in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.1, (slope, errors)


def test_change_of_linear_growth_is_the_taylor_polynomial(x64):
    factors = {"euler": 1.5, "heun": 1.625, "rk4": 1 + 0.5 + 0.125 + 0.125 / 6 + 0.0625 / 24}
    for name, factor in factors.items():
        grown = 1.0 + change(lambda u: u, jnp.float64(1.0), 0.5, name)
        np.testing.assert_allclose(grown, factor, rtol=1e-14)


def test_a_program_is_compiled_once_for_all_coefficients():
    config = replace(SMALL, layers=2)
    drawn = weights(config)
    run: Any = jax.jit(simulate, static_argnums=2)
    first = run(state(), drawn, config, Coefficients(residual=1.0))
    second = run(state(), drawn, config, Coefficients(residual=0.0, diffusion=0.1, dt=0.5))
    assert run._cache_size() == 1
    assert not np.allclose(first.u, second.u)


def test_shared_weights_are_the_same_layer_again_and_again():
    config = replace(SMALL, shared=True)
    drawn = weights(config)
    repeated = simulator.SimulatorWeights(
        jax.tree.map(lambda x: jnp.stack([x] * 3), drawn.params), drawn.graphdef
    )
    np.testing.assert_allclose(
        simulate(state(), drawn, config).u, simulate(state(), repeated, SMALL).u, atol=1e-6
    )


def test_depth_is_a_reading_of_one_run():
    """The first layers of a deep network are the shallow network."""
    deep = replace(SMALL, layers=6)
    run = simulate(state(), weights(deep), deep, record=simulator.record_state)
    np.testing.assert_allclose(simulate(state(), weights(), SMALL).u, run.records[2], atol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_a_causal_simulation_does_not_read_the_future(order):
    config = replace(SMALL, causal=True, order=order, splitting="parallel")
    u = state()
    changed = u.at[:, 4:].add(1.0)
    runs = [simulate(x, weights(config), config, Coefficients(diffusion=0.3)).u for x in (u, changed)]
    np.testing.assert_array_equal(runs[0][:, :4], runs[1][:, :4])
    gradient = jax.grad(
        lambda x: simulate(x, weights(config), config, Coefficients(diffusion=0.3)).u[:, :4].sum()
    )(u)
    assert np.all(np.asarray(gradient[:, 4:]) == 0)
    assert np.any(np.asarray(gradient[:, :4]) != 0)


@pytest.mark.parametrize("order", [1, 2])
def test_the_growth_of_the_tangent_is_that_of_a_small_perturbation(order):
    config = replace(SMALL, order=order, splitting="parallel", substeps=2)
    drawn, u, tangent = weights(config), state(), state(9)
    coefficients = Coefficients(dt=0.5, diffusion=0.1)
    run = simulate(u, drawn, config, coefficients, tangent=tangent, velocity=jnp.zeros_like(u))
    size = 0.02
    step = size * tangent / np.linalg.norm(tangent)
    last = [simulate(x, drawn, config, coefficients) for x in (u + step, u - step)]
    difference = [(last[0].u - last[1].u).ravel()]
    if order == 2:
        difference.append((jnp.asarray(last[0].velocity) - jnp.asarray(last[1].velocity)).ravel())
    growth = np.log(np.linalg.norm(np.concatenate(difference)) / (2 * size))
    np.testing.assert_allclose(jnp.asarray(run.growth).sum(), growth, atol=5e-3)
    np.testing.assert_allclose(run.lyapunov_exponent(3.0), growth / 3.0, atol=5e-3)


def test_the_lyapunov_exponent_of_diffusion_and_damping_is_known():
    """Without forces u⁺ = ρ u + D L u: the largest factor is ρ, of the constant mode."""
    config = replace(SMALL, layers=200, shared=True, norm="none", splitting="parallel")
    run = simulate(
        state(), weights(config), config, OFF._replace(residual=0.9, diffusion=0.2), tangent=state(3)
    )
    np.testing.assert_allclose(run.lyapunov_exponent(200.0, discard=150), np.log(0.9), rtol=1e-4)


def test_a_nonfinite_state_is_reported_by_step_and_does_not_stop_anything():
    config = replace(SMALL, layers=8, substeps=2, norm="none", shared=True)
    blown = simulate(
        state(),
        weights(config, gain=1e6),
        config,
        Coefficients(dt=1e3),
        record=simulator.measure_state,
        tangent=state(2),
    )
    first = int(blown.first_nonfinite)
    finite = [
        bool(
            np.all(
                np.isfinite(
                    simulate(
                        state(),
                        weights(config, gain=1e6),
                        replace(config, layers=n, substeps=1),
                        Coefficients(dt=1e3),
                    ).u
                )
            )
        )
        for n in range(1, 17)
    ]
    assert first == finite.index(False) + 1
    norms = np.asarray(blown.records.norm)
    layer = (first + 1) // 2
    assert np.all(np.isfinite(norms[: layer - 1]))
    assert np.all(np.isnan(norms[layer - 1 :]))
    assert int(simulate(state(), weights(), SMALL).first_nonfinite) == -1
    assert int(simulate(state().at[0, 0, 0].set(jnp.inf), weights(), SMALL).first_nonfinite) == 0


def test_statistics_are_those_of_the_diagnostics():
    drawn, u = weights(), state()
    states = simulate(u, drawn, SMALL, segment_ids=IDS, record=simulator.record_state).records
    other = simulate(
        u, drawn, SMALL, Coefficients(residual=0.5), segment_ids=IDS, record=simulator.record_state
    ).records
    run = simulate(
        u,
        drawn,
        SMALL,
        Coefficients(residual=0.5),
        segment_ids=IDS,
        record=simulator.measure_state,
        reference=states,
    )
    measured, last, ids = run.records, other[-1], IDS
    flat = ids.reshape(-1)
    expected = {
        "relative_change": diagnostics.relative_change(last, other[-2], ids).mean(),
        "cosine_to_input": diagnostics.cosine(last, u, ids).mean(),
        "cka_to_input": diagnostics.cka(last.reshape(-1, 8), u.reshape(-1, 8), flat),
        "token_similarity": diagnostics.token_similarity(last, ids).mean(),
        "effective_rank": diagnostics.effective_rank(last, ids).mean(),
        "dirichlet_energy": diagnostics.dirichlet_energy(last, ids).mean(),
        "roughness": diagnostics.roughness(last, ids).mean(),
        "cosine_to_reference": diagnostics.cosine(last, states[-1], ids).mean(),
        "cka_to_reference": diagnostics.cka(last.reshape(-1, 8), states[-1].reshape(-1, 8), flat),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(measured, name)[-1], value, rtol=2e-5, err_msg=name)
    valid = np.asarray(last)[np.asarray(ids) > 0]
    np.testing.assert_allclose(measured.norm[-1], np.sqrt(np.mean(valid**2)), rtol=1e-5)
    block = drawn.layer(2).block()
    query, key, _ = block.attention.project(block.norm_attention(other[-2]))
    entropy = diagnostics.attention_entropy(query, key, segment_ids=ids).mean()
    np.testing.assert_allclose(measured.attention_entropy[-1], entropy, rtol=1e-5)
