"""Diagnostics: values by hand, slow references, and laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import diagnostics, stencil

PACKED = jnp.asarray([[1, 1, 1, 0, 2, 2, 2, 0]])


def column(*values):
    return jnp.asarray(values, jnp.float32)[:, None]


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def with_nan_at_padding(u, segment_ids):
    return jnp.where(segment_ids[..., None] > 0, u, jnp.nan)


def test_dirichlet_energy_by_hand():
    # differences 1, -3, 0: (1 + 9 + 0) / 2
    assert diagnostics.dirichlet_energy(column(1.0, 2.0, -1.0, -1.0)) == 5.0


def test_dirichlet_energy_counts_no_edge_across_a_wall_or_a_hole():
    u = column(0.0, 1.0, 5.0, 7.0, 100.0, 8.0)
    # only (0, 1) and (5, 7): the hole separates 7 from 8 although both have id 2
    assert diagnostics.dirichlet_energy(u, jnp.asarray([1, 1, 2, 2, 0, 2])) == 0.5 + 2.0


def test_dirichlet_energy_is_the_quadratic_form_of_the_laplacian(x64):
    u = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)))
    matrix = stencil.laplacian_matrix(8, np.asarray(PACKED[0]))
    expected = -np.einsum("jd,ji,id->", u, matrix, u) / 2
    np.testing.assert_allclose(diagnostics.dirichlet_energy(u, PACKED[0]), expected, rtol=1e-13)


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.4, 0.5])
def test_a_heat_step_lowers_the_energy_by_at_least_its_bound(alpha, x64):
    graph = stencil.path(8, PACKED, "neumann")
    for seed in range(20):
        u = jnp.asarray(np.random.default_rng(seed).normal(size=(1, 8, 3)))
        change = stencil.laplacian(u, graph)
        bound = diagnostics.dirichlet_energy(u, PACKED) - alpha * (1 - 2 * alpha) * jnp.sum(change**2)
        assert diagnostics.dirichlet_energy(u + alpha * change, PACKED)[0] <= bound[0] + 1e-12


def test_roughness_by_hand():
    # energy of (1, -1, 1, -1) is 3 · 4 / 2, its square norm 4
    assert diagnostics.roughness(column(1.0, -1.0, 1.0, -1.0)) == 1.5
    assert diagnostics.roughness(column(2.0, 2.0, 2.0)) == 0.0
    assert diagnostics.roughness(column(0.0, 0.0)) == 0.0


def test_roughness_lies_between_zero_and_two_and_ignores_scale():
    u = random(20, 7, 3)
    rough = diagnostics.roughness(u)
    assert rough.shape == (20,)
    assert jnp.all((rough > 0) & (rough < 2))
    np.testing.assert_allclose(diagnostics.roughness(-7 * u), rough, rtol=1e-5)


def test_commutator_by_hand():
    def reverse(u):
        return u[::-1]

    def keep_first(u):
        return u * column(1.0, 0.0)

    # mix(f(u)) = mix(3, 0) = (0, 3) and f(mix(u)) = f(4, 3) = (4, 0): the difference is (-4, 3)
    np.testing.assert_allclose(
        diagnostics.commutator(reverse, keep_first, column(3.0, 4.0)), 5 / 3, rtol=1e-6
    )


def test_commutator_vanishes_for_two_diffusions_and_not_for_a_pointwise_nonlinearity():
    graph = stencil.path(6, None, "neumann")

    def heat(u, alpha):
        return u + alpha * stencil.laplacian(u, graph)

    def commute(f):
        return diagnostics.commutator(lambda u: heat(u, 0.25), f, random(2, 6, 3))

    assert commute(lambda u: heat(u, 0.4)) < 1e-6
    assert commute(jnp.tanh) > 0.01


def test_token_similarity_by_hand():
    # the cosines of (1,0), (0,2), (3,3): 0, 1/√2, 1/√2
    u = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    np.testing.assert_allclose(diagnostics.token_similarity(u), np.sqrt(2) / 3, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.token_similarity(jnp.ones((5, 4))), 1.0, rtol=1e-6)
    assert diagnostics.token_similarity(u[:1]) == 1.0


def test_token_similarity_is_the_mean_over_all_pairs():
    u = random(2, 8, 3)
    for row, ids in zip(u, jnp.broadcast_to(PACKED, (2, 8)), strict=True):
        valid = np.asarray(row)[np.asarray(ids) > 0]
        units = valid / np.linalg.norm(valid, axis=1, keepdims=True)
        cosines = (units @ units.T)[~np.eye(len(units), dtype=bool)]
        np.testing.assert_allclose(diagnostics.token_similarity(row, ids), cosines.mean(), rtol=0, atol=1e-6)


def test_effective_rank_by_hand():
    # σ = 3, 1: p = 3/4, 1/4, exp of the entropy is 4 / 3^(3/4)
    u = jnp.asarray([[3.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    np.testing.assert_allclose(diagnostics.effective_rank(u), 4 / 3**0.75, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.effective_rank(jnp.eye(4)), 4.0, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.effective_rank(jnp.ones((5, 3))), 1.0, rtol=1e-4)
    assert diagnostics.effective_rank(jnp.zeros((3, 2))) == 1.0


@pytest.mark.parametrize(
    "measure",
    [
        diagnostics.dirichlet_energy,
        diagnostics.roughness,
        diagnostics.token_similarity,
        diagnostics.effective_rank,
    ],
)
def test_padding_is_never_read(measure):
    u = random(1, 8, 3)
    with_nan = measure(with_nan_at_padding(u, PACKED), PACKED)
    np.testing.assert_array_equal(with_nan, measure(jnp.where(PACKED[..., None] > 0, u, 7.0), PACKED))
    padded, ids = jnp.pad(u[:, :3], ((0, 0), (0, 2), (0, 0))), jnp.asarray([[1, 1, 1, 0, 0]])
    np.testing.assert_allclose(measure(padded, ids), measure(u[:, :3]), rtol=1e-5)


def test_bfloat16_states_are_measured_in_float32():
    u = random(3, 16, 4).astype(jnp.bfloat16)
    for measure in (diagnostics.dirichlet_energy, diagnostics.roughness, diagnostics.token_similarity):
        assert measure(u).dtype == jnp.float32
        np.testing.assert_array_equal(measure(u), measure(u.astype(jnp.float32)))


def test_diagnostics_run_under_jit_and_vmap():
    u = random(2, 3, 8, 4)
    for measure in (diagnostics.roughness, diagnostics.token_similarity, diagnostics.effective_rank):
        np.testing.assert_allclose(jax.jit(jax.vmap(measure))(u), measure(u), rtol=1e-5)


MEASURES = {
    "dirichlet_energy": diagnostics.dirichlet_energy,
    "roughness": diagnostics.roughness,
    "token_similarity": diagnostics.token_similarity,
    "effective_rank": diagnostics.effective_rank,
    "commutator": lambda u: diagnostics.commutator(lambda v: v[::-1], lambda v: v * v, u),
}


@pytest.mark.parametrize("name", list(MEASURES))
def test_gradients_at_zeros_are_finite(name):
    zeros = jnp.zeros((4, 3))
    for u in (zeros, zeros.at[0].set(1.0), jnp.ones((4, 3)), zeros[:1]):
        value, gradient = jax.value_and_grad(lambda u: jnp.sum(MEASURES[name](u)))(u)
        assert np.isfinite(np.asarray(value))
        assert np.isfinite(np.asarray(gradient)).all()
    assert np.isfinite(np.asarray(MEASURES[name](jnp.zeros((0, 3)))))


def test_similarity_of_many_tokens_does_not_overflow():
    u, ids = jnp.ones((70_000, 1)).at[::2].set(-1), np.ones(70_000, int)
    for segment_ids in (None, ids):
        np.testing.assert_allclose(diagnostics.token_similarity(u, segment_ids), -1 / 69_999, rtol=1e-5)


@pytest.mark.parametrize("name", ["dirichlet_energy", "roughness", "token_similarity", "effective_rank"])
def test_ids_are_converted_as_elsewhere(name):
    measure, u = getattr(diagnostics, name), jnp.arange(12.0).reshape(6, 2)
    valid = [True] * 4 + [False] * 2
    np.testing.assert_array_equal(measure(u, valid), measure(u, jnp.asarray(valid, jnp.int32)))
    with pytest.raises(ValueError, match="segment_ids must be integers or booleans"):
        measure(u, np.ones(6))
    with pytest.raises(ValueError, match="segment_ids must fit int32"):
        measure(u, np.full(6, 2**32))


RELATIVE = (diagnostics.roughness, diagnostics.token_similarity, diagnostics.effective_rank)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_relative_measures_ignore_the_scale_of_very_small_and_very_large_states(factor):
    u = random(5, 4)
    for measure in RELATIVE:
        np.testing.assert_allclose(measure(u * factor), measure(u), rtol=2e-5)
        gradient = jax.grad(lambda u, measure=measure: measure(u * factor))(u)
        assert np.isfinite(gradient).all()


def test_similarity_counts_small_tokens_as_large_ones():
    u = jnp.asarray([[1.0, 0.0], [1e-30, 1e-30], [1e30, 1e30]])
    np.testing.assert_allclose(diagnostics.token_similarity(u), (2 * np.sqrt(0.5) + 1) / 3, rtol=1e-6)


def test_a_commutator_of_nan_is_nan_and_other_shapes_are_refused():
    u = jnp.ones((4, 2))
    assert np.isnan(diagnostics.commutator(lambda u: u, lambda u: u * jnp.nan, u))
    with pytest.raises(ValueError, match="mix and f keep the shape of hidden states, got"):
        diagnostics.commutator(lambda u: u[:1], lambda u: 2 * u, u)


def test_ids_of_another_length_are_refused():
    for measure in (*RELATIVE, diagnostics.dirichlet_energy):
        with pytest.raises(ValueError, match="segment_ids needs one id per token, 5, got"):
            measure(random(5, 4), jnp.asarray([1, 1]))


def test_similarity_by_hand():
    a, b = jnp.asarray([[1.0, 0.0], [0.0, 0.0]]), jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(diagnostics.cosine(a, b), 0.6, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.relative_change(b, a), np.sqrt(4 + 16), rtol=1e-6)
    assert diagnostics.cosine(a, 0 * a) == 0
    assert diagnostics.relative_change(a, a) == 0
    assert diagnostics.relative_change(0 * a, 0 * a) == 0
    assert diagnostics.relative_change(a, 0 * a) == np.inf


def slow_cka(a, b):
    """CKA by its definition on Gram matrices: <K_c, L_c> / (‖K_c‖ ‖L_c‖)."""
    center = np.eye(len(a)) - 1 / len(a)
    k, m = (center @ (x @ x.T) @ center for x in (np.asarray(a, float), np.asarray(b, float)))
    return np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))


def test_cka_is_its_definition_and_ignores_what_it_must():
    a, b = random(20, 5) + 3, random(20, 7, seed=1)
    np.testing.assert_allclose(diagnostics.cka(a, b), slow_cka(a, b), rtol=1e-5)
    rotation = np.linalg.qr(np.asarray(random(5, 5, seed=2)))[0]
    np.testing.assert_allclose(diagnostics.cka(a, 1e3 * a @ rotation - 5), 1, rtol=1e-5)
    # two clouds far from the origin are alike without centering, and unrelated with it
    far = diagnostics.cka(random(500, 3) + 100, random(500, 3, seed=4) + 100)
    assert far < 0.05
    assert diagnostics.cka(jnp.ones((4, 3)), random(4, 3)) == 0


def test_similarity_does_not_read_padding_and_does_not_overflow():
    a, b = random(1, 8, 4), random(1, 8, 4, seed=1)
    holes = with_nan_at_padding(a, PACKED), with_nan_at_padding(b, PACKED)
    valid = np.asarray(PACKED[0]) > 0
    for measure in (diagnostics.cosine, diagnostics.relative_change, diagnostics.cka):
        expected = measure(a[0, valid], b[0, valid])
        np.testing.assert_allclose(measure(*holes, PACKED)[0], expected, rtol=1e-5)
        np.testing.assert_allclose(measure(1e30 * a, 1e30 * b), measure(a, b), rtol=1e-4)
    with pytest.raises(ValueError, match="one shape"):
        diagnostics.cosine(a, b[:, :4])
    with pytest.raises(ValueError, match="same tokens"):
        diagnostics.cka(a, b[:, :4])


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("tokens", [6, 300])  # 300 rows take two blocks of rows
def test_attention_entropy_is_that_of_the_weights(is_causal, tokens):
    query, key = random(1, tokens, 2, 4), random(1, tokens, 2, 4, seed=1)
    ids = np.ones((1, tokens), int)
    ids[0, tokens // 2 :], ids[0, -2:] = 2, 0
    scores = np.einsum("tnh,snh->nts", query[0], key[0]).astype(float) / 2
    mask = (ids[0][:, None] == ids[0]) & (ids[0] > 0)
    mask &= np.tril(np.ones_like(mask)) if is_causal else True
    p = np.exp(scores) * mask
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)[:, ids[0] > 0].mean(-1)
    measured = diagnostics.attention_entropy(query, key, segment_ids=ids, is_causal=is_causal)
    np.testing.assert_allclose(measured[0], entropy, rtol=2e-5)


def test_attention_entropy_of_a_decoded_token_aligns_with_the_last_key():
    key = random(1, 5, 1, 4)
    query = jnp.zeros((1, 2, 1, 4))  # uniform over 4 and over 5 keys
    measured = diagnostics.attention_entropy(query, key, is_causal=True)
    np.testing.assert_allclose(measured[0, 0], (np.log(4) + np.log(5)) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="repeat grouped keys"):
        diagnostics.attention_entropy(random(1, 2, 4, 4), key)


def test_the_jacobian_norm_is_the_largest_singular_value():
    matrix = np.asarray(random(6, 6))
    measured = diagnostics.jacobian_norm(
        lambda u: jnp.sin(u) @ matrix, jnp.zeros(6), key=jax.random.key(0), iterations=200
    )
    np.testing.assert_allclose(measured.norm, np.linalg.norm(matrix, 2), rtol=1e-4)
    assert measured.change < 1e-4
    unfinished = diagnostics.jacobian_norm(
        lambda u: u @ matrix, jnp.zeros(6), key=jax.random.key(0), iterations=2
    )
    assert unfinished.norm <= measured.norm * (1 + 1e-5)
    assert unfinished.change > measured.change
    with pytest.raises(ValueError, match="at least 1"):
        diagnostics.jacobian_norm(jnp.sin, jnp.zeros(2), key=jax.random.key(0), iterations=0)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_the_lyapunov_exponent_of_a_linear_map_is_the_log_of_its_spectral_radius(dt):
    rng = np.random.default_rng(3)
    basis = rng.normal(size=(5, 5))
    matrix = basis @ np.diag([1.7, -1.1, 0.5, 0.2, 0.1]) @ np.linalg.inv(basis)  # not normal: ‖M‖ > 1.7
    exponent = diagnostics.lyapunov_exponent(
        lambda u: jnp.asarray(matrix, jnp.float32) @ u,
        jnp.ones(5),
        key=jax.random.key(0),
        steps=140,
        discard=100,
        dt=dt,
    )
    np.testing.assert_allclose(exponent, np.log(1.7) / dt, rtol=1e-4)


def test_the_lyapunov_exponent_of_the_logistic_map_is_log_2(x64):
    exponent = diagnostics.lyapunov_exponent(
        lambda u: 4 * u * (1 - u), jnp.asarray([0.3141592]), key=jax.random.key(0), steps=100_000
    )
    np.testing.assert_allclose(exponent, np.log(2), atol=5e-3)
    with pytest.raises(ValueError, match="discard"):
        diagnostics.lyapunov_exponent(jnp.sin, jnp.ones(1), key=jax.random.key(0), steps=3, discard=3)
