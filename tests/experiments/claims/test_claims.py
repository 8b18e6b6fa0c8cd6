"""Every measurement of `experiments.claims` against known values."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments import claims
from experiments.claims.measurements import (
    decay,
    entropy,
    gradients,
    instability,
    landscape,
    padding_artifact,
    published_perplexity,
)
from experiments.claims.trained import classifiers, hessian, network, short_training
from experiments.claims.trained.network import Alpha, Shape, Steps
from experiments.run.report import claim_lines as report
from pdeformer import cta, train

QUICK, FULL = (config for _, config in claims.PRESETS.values())
TINY = claims.Config(
    seeds=(0,),
    decay=claims.Decay(
        tokens=401, rates=(0.5,), steps=(4, 16), peaks=(4, 16, 64), attention_tokens=96, attention_steps=4
    ),
    entropy=claims.Entropy(tokens=8, heads=1, steps=(0, 4, 64, 256)),
    instability=claims.Instability(tokens=18, alphas=3, waves=5),
    training=claims.Training(
        tokens=6, vocabulary=5, width=8, heads=2, ffn=8, layers=2, batch=8, steps=12, pde_steps=2
    ),
    landscape=claims.Landscape(rows=8, iterations=4, directions=2, points=5),
    artifact=claims.Artifact(
        lengths=(24, 48), words=4.0, vocabulary=60, lines=100, test_lines=20, width=32, heads=2, ffn=16,
        layers=1, batch=8, steps=60, seeds=1, learning_rate=3e-3,
    ),
)  # fmt: skip


# Decay.


def test_an_exponential_tail_keeps_its_rate_and_gains_the_known_factor():
    result = decay.measure(TINY.decay)
    np.testing.assert_allclose(result.slopes, -0.5, rtol=1e-10)
    np.testing.assert_allclose(result.factors, (1 + 0.25 * (2 * math.cosh(0.5) - 2)) ** np.array([[4, 16]]))
    np.testing.assert_allclose(result.factors, result.predicted_factors, rtol=1e-10)


def test_the_peak_of_a_delta_is_the_central_binomial_coefficient_and_its_exponent_tends_to_a_half():
    result = decay.measure(dataclasses.replace(TINY.decay, peaks=(4, 16, 64, 256)))
    central = [math.comb(2 * n, n) / 4**n for n in result.peaks]  # α = 1/4: two fair coins a step
    np.testing.assert_allclose(result.delta_peak, central, rtol=1e-12)
    np.testing.assert_allclose(result.delta_exponents, [-0.4832, -0.4958, -0.4989], atol=1e-4)
    # the digits that the documentation states
    np.testing.assert_allclose(result.row_exponents, [-0.268, -0.373, -0.450], atol=1e-3)


def test_softmax_attention_of_a_distance_penalty_keeps_its_rate_too():
    before, after = decay.attention_slopes(QUICK.decay)
    # random scores beside the distance penalty scatter the slope
    np.testing.assert_allclose([before, after], -QUICK.decay.rates[0], rtol=0.01)
    np.testing.assert_allclose(after, before, rtol=0.005)


# Entropy.


def test_entropy_of_a_uniform_row_is_log2_of_its_length_and_of_a_certain_one_0():
    rows = np.stack([np.full(8, 1 / 8), np.eye(8)[3]])
    np.testing.assert_allclose(entropy.bits(rows), [3, 0], atol=1e-12)


def test_entropy_rises_to_that_of_the_stationary_row():
    result = entropy.measure(TINY.entropy)
    assert result.largest_fall <= 1e-12
    assert np.all(np.diff(result.bits["diffusion"]) > 0)
    # the limit, log2 of 8 keys, is approached by a finite number of steps
    np.testing.assert_allclose(result.bits["diffusion"][-1], 3, atol=1e-3)
    np.testing.assert_allclose(result.bits["advection-diffusion"][-1], result.advected, rtol=1e-2)
    np.testing.assert_allclose(result.measured_gap, result.gap, rtol=0.01)
    assert result.advected < result.uniform == 3
    initial = [bits[0] for bits in result.bits.values()]
    np.testing.assert_allclose(initial, initial[0], rtol=1e-12)
    assert result.smallest_wave_weight < -0.01


# Instability.


def test_measured_gain_is_the_symbol_and_1_plus_4_alpha_at_alternating_tokens():
    result = instability.measure(TINY.instability)
    np.testing.assert_allclose(result.measured, result.predicted, atol=1e-5)
    np.testing.assert_allclose(result.measured[:, -1], 1 + 4 * result.alphas, rtol=1e-5)
    np.testing.assert_allclose(result.growth, 1.4 ** np.array([1, 4, 8]), rtol=1e-5)


def test_threshold_norms_and_the_stable_form_are_those_of_theory():
    result = instability.measure(dataclasses.replace(TINY.instability, tokens=64))
    # 64 tokens resolve the angle to this
    np.testing.assert_allclose(math.cos(math.radians(result.threshold)), 0.1 / 1.1, atol=2e-3)
    np.testing.assert_allclose(result.norms, [1.018, 1.070, 1.130], atol=5e-4)
    assert result.ours <= 1 + 1e-6
    np.testing.assert_allclose(result.ours_range, 1, rtol=1e-6)


# The network.


@pytest.fixture(scope="module")
def small():
    """(weights, ids) of a network of two layers."""
    weights = network.init(jax.random.key(0), Shape(7, 3, 5, 8, 2, 12, 2))
    return weights, jax.random.randint(jax.random.key(1), (2, 5), 0, 7)


def test_alpha_0_is_the_official_baseline_with_or_without_the_forms_in_the_program(small):
    weights, ids = small
    official = cta.OfficialClassifier(weights, kind=None, heads=2)(ids)
    for steps in (Steps(0, 0), Steps(3, 3)):
        ours = network.classify(weights, ids, Alpha(), steps=steps, heads=2)
        np.testing.assert_allclose(ours, official, atol=2e-6)


def test_both_forms_act_and_the_hidden_one_is_the_official_layer(small):
    weights, ids = small
    plain = network.classify(weights, ids, Alpha(), steps=Steps(2, 2), heads=2)
    official = weights._replace(steps={"alpha": jnp.full((2, 2), 0.1)})
    hidden = network.classify(weights, ids, Alpha(hidden=0.1), steps=Steps(2, 2), heads=2)
    np.testing.assert_allclose(
        hidden, cta.OfficialClassifier(official, kind="diffusion", heads=2)(ids), atol=2e-6
    )
    attention = network.classify(weights, ids, Alpha(attention=0.1), steps=Steps(2, 2), heads=2)
    assert min(np.abs(hidden - plain).max(), np.abs(attention - plain).max()) > 1e-4


# Gradients.


def test_the_norms_of_the_layers_at_the_start_are_those_of_plain_autodiff():
    result, size = gradients.measure(TINY.training, (3,)), TINY.training
    weights = network.init(jax.random.key(3), classifiers.shape(size))
    rows = classifiers.draw(size, gradients.ROWS, jax.random.key(10_003))
    gradient = jax.jit(jax.grad(lambda w, alpha: classifiers.loss(w, rows, alpha, size)[0]))
    for i, alpha in enumerate(classifiers.variants(size).values()):
        grads = jax.device_get(gradient(weights, alpha))
        for layer in range(size.layers):
            squares = [float(np.sum(np.square(g[layer]))) for g in grads.layers.values()]
            np.testing.assert_allclose(result.layers[i, 0, layer], math.sqrt(sum(squares)), rtol=1e-4)
        total = sum(float(np.sum(np.square(g))) for g in jax.tree.leaves(grads))
        np.testing.assert_allclose(result.start[i, 0], math.sqrt(total), rtol=1e-4)


def test_variants_begin_with_the_same_weights_and_see_the_same_batches():
    trained = classifiers.trained(TINY.training, (0,))
    plain, *variants = trained.values()
    for variant in variants:
        jax.tree.map(np.testing.assert_array_equal, plain.first, variant.first)
        np.testing.assert_allclose(
            plain.losses[0], variant.losses[0], rtol=0.2
        )  # same batch, another function
    again = classifiers.trained.__wrapped__(TINY.training, (0,))
    np.testing.assert_array_equal(plain.losses, next(iter(again.values())).losses)


def test_labels_are_the_first_token_but_for_the_noise():
    size = dataclasses.replace(TINY.training, noise=0.5)
    ids, labels = classifiers.draw(size, 4000, jax.random.key(0))
    accuracy = float(jnp.mean(labels == ids[:, 0]))
    # four standard errors of 4,000 labels
    assert accuracy == pytest.approx(0.5 + 0.5 / size.vocabulary, abs=0.03)


def test_a_training_that_diverges_is_stopped_and_named():
    fit = short_training.Fit(
        lambda w, data, key: (data * jnp.sum(w), jnp.zeros(())), train.Optimizer(), 2, tokens_per_step=1
    )
    assert fit(jnp.ones(2), 1.0, 0, "fine").losses.shape == (2,)
    with pytest.raises(FloatingPointError, match="got nan \\(plain, seed 3, by step 2\\)"):
        fit(jnp.ones(2), math.nan, 3, "plain")


# Landscape.


@pytest.mark.parametrize("iterations", [6, 40])
def test_eigenvalues_of_a_quadratic_are_found_and_its_space_is_not_left(iterations):
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(6, 6)))[0]
    matrix = jnp.asarray(basis @ np.diag([-2, 0.5, 1, 2, 3, 7.0]) @ basis.T, jnp.float32)

    def f(tree):
        x = jnp.concatenate([tree["a"], tree["b"].ravel()])
        return jnp.vdot(x, matrix @ x) / 2

    point = {"a": jnp.ones(2), "b": jnp.ones((2, 2))}
    extremes = hessian.extremes(hessian.lanczos(f, point, jax.random.key(0), iterations))
    assert extremes.largest == pytest.approx(7, rel=1e-5)
    assert extremes.smallest == pytest.approx(-2, rel=1e-4)
    assert extremes.residual < 1e-4


def test_top_eigenvalue_of_the_classifier_is_that_of_its_dense_hessian():
    size = dataclasses.replace(TINY.training, tokens=4, vocabulary=3, width=4, ffn=3, layers=1)
    weights = network.init(jax.random.key(0), classifiers.shape(size))
    rows = classifiers.draw(size, 8, jax.random.key(1))

    def f(w):
        return classifiers.loss(w, rows, Alpha(attention=0.2), size)[0]

    flat, unravel = ravel_pytree(weights)
    gradient = jax.grad(lambda x: f(unravel(x)))
    dense = jax.jit(jax.vmap(lambda v: jax.grad(lambda x: jnp.vdot(gradient(x), v))(flat)))(
        jnp.eye(flat.size)
    )
    values = np.linalg.eigvalsh(np.asarray(dense, np.float64))
    extremes = hessian.extremes(hessian.lanczos(f, weights, jax.random.key(2), 25))
    # 25 Lanczos iterations in float32
    assert extremes.largest == pytest.approx(values[-1], rel=1e-3)
    assert extremes.smallest == pytest.approx(values[0], rel=1e-2)


def test_a_direction_has_the_norm_of_every_filter_and_leaves_biases_and_layer_norms(small):
    weights, _ = small
    direction = landscape.direction(jax.random.key(0), weights)
    for d, w in (
        (direction.embedding, weights.embedding),
        (direction.fc["weight"], weights.fc["weight"]),
        (direction.layers["linear1.weight"], weights.layers["linear1.weight"]),
    ):
        np.testing.assert_allclose(jnp.linalg.norm(d, axis=-1), jnp.linalg.norm(w, axis=-1), rtol=1e-5)
    for name in ("norm1.weight", "linear1.bias", "self_attn.in_proj_bias"):
        assert not np.any(direction.layers[name])


def test_a_slice_of_a_quadratic_is_a_parabola():
    offsets = jnp.array([[-1.0, 0.0], [0.0, 0.0], [2.0, 1.0]])
    values = landscape.along(
        lambda w: jnp.sum(w["a"] ** 2),
        {"a": jnp.ones(2)},
        ({"a": jnp.ones(2)}, {"a": 3 * jnp.ones(2)}),
        offsets,
    )
    np.testing.assert_allclose(values, [0, 2, 72])


# The artifact.


def test_the_same_weights_differ_tenfold_between_the_paths_but_not_on_real_tokens():
    result = padding_artifact.measure(TINY.artifact, (0,))
    unchanged, zeroed = np.moveaxis(np.exp(result.counted), 1, 0)
    assert np.all(zeroed[:, 1] > 10 * unchanged[:, 1])
    np.testing.assert_allclose(result.real[:, 0], result.real[:, 1], atol=1e-6)
    assert np.all(result.gain[1] > 0.9)
    assert np.all(result.same_weights[1] > 0.9)
    assert np.all(np.abs(result.honest) < 0.2)
    share = result.pad_share[:, None]
    np.testing.assert_allclose(result.counted, share * result.pad + (1 - share) * result.real, rtol=1e-6)


def test_on_the_fast_path_a_pad_costs_what_the_bias_of_the_head_says(small):
    weights, ids = small
    weights = weights._replace(
        fc={"weight": jnp.ones((7, 8)), "bias": jnp.log(jnp.array([1.0, 1, 1, 1, 1, 1, 2]))}
    )
    ids = jnp.array([[3, 4, padding_artifact.PAD, padding_artifact.PAD, padding_artifact.PAD]])
    nats = padding_artifact.token_nats(weights, ids, Alpha(), zeroed=True, heads=2)
    np.testing.assert_allclose(nats[0, 2:], math.log(8), rtol=1e-6)


def test_lines_are_words_then_pads_and_differ_between_seeds():
    text = padding_artifact.lines(TINY.artifact, 24, 500, 0)
    real = (text != padding_artifact.PAD).sum(1)
    np.testing.assert_array_equal(text != padding_artifact.PAD, np.arange(24)[None] < real[:, None])
    assert real.min() >= 1
    # the sampling error of the lengths of the lines
    assert real.mean() == pytest.approx(4, abs=0.4)
    assert text.max() < 60
    assert np.any(text != padding_artifact.lines(TINY.artifact, 24, 500, 1))


def test_published_perplexities_are_those_of_free_pads_and_of_pads_at_log_v():
    result = published_perplexity.measure()
    # the digits of the published perplexities
    np.testing.assert_allclose(result.nats_per_line, [650, 675, 694], atol=0.6)
    np.testing.assert_allclose(result.pad_nats, [10.33, 10.30, 10.26], atol=0.006)
    np.testing.assert_allclose(result.uniform, 10.33, atol=0.005)
    np.testing.assert_allclose(result.predicted / published_perplexity.STANDARD, 1, atol=0.06)


# The table.


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([0.5, 0.6, 0.7], "too few seeds to tell"),
        ([0.5] * 6, "supported here"),
        ([2.0] * 5 + [1.5], "the opposite here"),
        ([0.5] * 5 + [2.0], "no difference beyond chance"),
        ([1.0] * 6, "no difference beyond chance"),
        ([0.5] * 9 + [2.0], "supported here"),
    ],
)
def test_a_verdict_needs_a_sign_test_at_5_percent(ratios, words):
    assert report.opinion(np.array(ratios)) == words


def test_words_for_ratios_count_seeds():
    assert report.count(np.array([0.5, 2, 3])) == "larger in 2 of 3 seeds"
    assert report.count(np.array([0.5, 0.6, 3])) == "smaller in 2 of 3 seeds"
    assert report.spread(np.array([1.0, 3.0])) == "2 ± 1.4"
    assert report.spread(np.array([1.0])) == "1"


# Refusals.


def test_rows_too_short_for_a_tail_or_a_wave_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match="raise --decay.tokens"):
        decay.measure(dataclasses.replace(TINY.decay, tokens=101))
    with pytest.raises(ValueError, match="raise --instability.tokens to 18"):
        instability.measure(claims.Instability(tokens=17))
