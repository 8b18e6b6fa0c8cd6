"""Diffusion layers: by hand, against dense matrices, and stable whatever their parameters."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from flax import nnx

from pdeformer import diagnostics
from pdeformer.layers import AdaptiveStencil, HeatLayer, MultiScaleStencil, StencilConfig

CHANNELS = 3
LAYERS = {
    "heat": lambda: HeatLayer(0.25, steps=2),
    "heat learned": lambda: HeatLayer(0.3, learned=True),
    "adaptive 3": lambda: AdaptiveStencil(CHANNELS),
    "adaptive 7": lambda: AdaptiveStencil(CHANNELS, width=7),
    "input adaptive": lambda: AdaptiveStencil(CHANNELS, width=5, input_adaptive=True),
    "free": lambda: AdaptiveStencil(CHANNELS, width=5, free=True),
    "multiscale": lambda: MultiScaleStencil(CHANNELS, dilations=(1, 2, 5)),
    "gated": lambda: MultiScaleStencil(CHANNELS, dilations=(1, 2, 4), gated=True),
}
STABLE = [name for name in LAYERS if name != "free"]
LINEAR = [name for name in STABLE if name not in ("input adaptive", "gated")]
CAUSAL = [name for name in STABLE if name != "gated"]
PATTERNS = {
    "right padding": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "left padding": [0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4],
    "packed": [1, 1, 1, 1, 2, 2, 2, 2, 2, 9, 9],
    "hole": [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0],
    "padding alone": [0] * 11,
    "no padding": [1] * 11,
}
SEGMENTS = jnp.asarray(list(PATTERNS.values()), jnp.int32)  # one row of a batch per pattern
VALID = SEGMENTS[..., None] > 0


def states(batch=6, length=11, seed=0, dtype=None):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, length, CHANNELS)), dtype)


@partial(jax.jit, static_argnums=0, static_argnames="causal")
def run(graphdef, params, u, segment_ids=None, *, causal=False):
    return nnx.merge(graphdef, params)(u, segment_ids, causal=causal)


def apply(layer, u, segment_ids=None, *, causal=False):
    """The layer's output, compiled once per structure and shape."""
    return run(*nnx.split(layer), u, segment_ids, causal=causal)


def randomised(layer, scale=1.0, seed=0):
    """The layer with every parameter replaced by normal numbers of this scale."""
    graphdef, params = nnx.split(layer)
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype), params)
    )


def extreme(layer, seed):
    """The layer with every parameter at -1e4, 0 or 1e4."""
    graphdef, params = nnx.split(layer)
    rng = np.random.default_rng(seed)

    def draw(x):
        return jnp.asarray(rng.choice([-1e4, 0.0, 1e4], size=x.shape), x.dtype)

    return nnx.merge(graphdef, jax.tree.map(draw, params))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def softmax(x):
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(axis=0)


def joined(ids, i, j):
    """Tokens i < j are in one run: everything between them has the same positive id."""
    return i >= 0 and j < len(ids) and ids[i] > 0 and all(ids[k] == ids[i] for k in range(i, j + 1))


def dense(weight, offsets, ids, *, causal=False):
    """The matrix of u + Σ_k w_k L^(k) u, edge by edge; weight(k index, i, j) is that of the edge i < j."""
    matrix = np.eye(len(ids))
    for n, k in enumerate(offsets):
        for i in range(len(ids) - k):
            if joined(ids, i, i + k):
                w = weight(n, i, i + k)
                matrix[i + k, i] += w
                matrix[i + k, i + k] -= w
                if not causal:
                    matrix[i, i + k] += w
                    matrix[i, i] -= w
    return matrix


def standardised(u):
    centred = u - u.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


def oracle(layer, u, ids, *, causal=False):
    """The layer's output for one row, NumPy in float64, from its parameters and the equations of its docstring."""
    u = np.asarray(u, np.float64)
    out = np.empty_like(u)
    for c in range(u.shape[1]):
        if isinstance(layer, HeatLayer):
            matrix = dense(lambda n, i, j: float(layer.alpha), [1], ids, causal=causal)
            matrix = np.linalg.matrix_power(matrix, layer.steps)
        elif isinstance(layer, AdaptiveStencil) and layer.free:
            matrix = free_matrix(np.asarray(layer.kernel[...], np.float64)[:, c], ids)
        elif isinstance(layer, AdaptiveStencil):
            gate = np.zeros(u.shape[1]) if layer.gate is None else np.asarray(layer.gate[...])
            rate = sigmoid(float(layer.rate[...][c]) + standardised(u) @ gate) / 2
            share = softmax(layer.share[...])[:, c]
            offsets = range(1, layer.reach + 1)
            weight = lambda n, i, j: (rate[i] + rate[j]) / 2 * share[n]  # noqa: B023, E731  used in this turn only
            matrix = dense(weight, offsets, ids, causal=causal)
        else:
            weights = multiscale_weights(layer, u, ids, c)
            matrix = dense(lambda n, i, j: weights[i][n], layer.dilations, ids, causal=causal)  # noqa: B023  used in this turn only
        out[:, c] = matrix @ u[:, c]
    return out


def multiscale_weights(layer, u, ids, c):
    """α of every token, one by one."""
    parameters = np.asarray(layer.weights[...], np.float64)
    weights = []
    for j in range(len(ids)):
        own = parameters[:, c] if layer.gate is None else parameters
        if layer.gate is not None:
            pooled = standardised(u)[np.asarray(ids) == ids[j]].mean(axis=0)
            own = own + pooled @ np.asarray(layer.gate[...], np.float64)
        weights.append(sigmoid(own[0]) / 2 * softmax(own[1:]))
    return weights


def free_matrix(kernel, ids):
    reach = len(kernel) // 2
    matrix = np.eye(len(ids))
    for j in range(len(ids)):
        for k in range(-reach, reach + 1):
            inside = joined(ids, min(j, j + k), max(j, j + k))
            if ids[j] > 0:
                matrix[j, j + k if inside else j] += kernel[reach + k]
    return matrix


# By hand


def test_a_heat_layer_by_hand():
    u = jnp.asarray([[[4.0], [0.0], [0.0]]])
    np.testing.assert_array_equal(HeatLayer(0.25)(u)[0, :, 0], [3.0, 1.0, 0.0])
    np.testing.assert_array_equal(HeatLayer(0.25)(u, causal=True)[0, :, 0], [4.0, 1.0, 0.0])
    np.testing.assert_array_equal(HeatLayer(0.25, steps=2)(u)[0, :, 0], [2.5, 1.25, 0.25])


def test_an_adaptive_stencil_by_hand():
    u = jnp.asarray([[[1.0], [0.0], [0.0], [0.0]]])
    # Σκ = 0.4, spread over two offsets: 0.2 each
    layer = AdaptiveStencil(1, width=5, alpha=0.4)
    np.testing.assert_allclose(layer(u)[0, :, 0], [0.6, 0.2, 0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(layer(u, causal=True)[0, :, 0], [1.0, 0.2, 0.2, 0.0], rtol=1e-6)


def test_a_multiscale_stencil_by_hand():
    u = jnp.asarray([[[1.0], [0.0], [0.0], [0.0]]])
    layer = MultiScaleStencil(1, dilations=(1, 3), alpha=0.2)
    np.testing.assert_allclose(layer(u)[0, :, 0], [0.8, 0.1, 0.0, 0.1], rtol=1e-6)


def test_layers_start_at_the_smoothing_they_were_given():
    assert HeatLayer().taps().tolist() == [0.25, 0.5, 0.25]
    np.testing.assert_allclose(HeatLayer(0.4, learned=True).alpha, 0.4, rtol=1e-6)
    for layer in (AdaptiveStencil(2), AdaptiveStencil(2, width=7), MultiScaleStencil(2)):
        taps = np.asarray(layer.taps())
        np.testing.assert_allclose(taps[:, taps.shape[1] // 2], 1 - 2 * 0.10, rtol=1e-6)


# Oracle


# causal "heat" takes two steps, which is a kernel and not a matrix power
@pytest.mark.parametrize(
    ("name", "causal"), [*((n, False) for n in LAYERS), *((n, True) for n in CAUSAL if n != "heat")]
)
def test_a_layer_equals_its_dense_matrix(name, causal, x64):
    layer, u = randomised(LAYERS[name]()), states()
    expected = [oracle(layer, row, ids, causal=causal) for row, ids in zip(u, PATTERNS.values(), strict=True)]
    np.testing.assert_allclose(apply(layer, u, SEGMENTS, causal=causal), expected, rtol=0, atol=1e-12)
    whole = apply(layer, u, causal=causal)[-1]
    np.testing.assert_allclose(whole, expected[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("input adaptive", "gated")])
def test_taps_are_the_answer_to_an_impulse(name):
    layer = randomised(LAYERS[name]())
    impulse = jnp.zeros((1, 31, CHANNELS)).at[0, 15].set(1.0)
    taps = jnp.broadcast_to(layer.taps(), (CHANNELS, layer.taps().shape[-1]))
    reach = taps.shape[1] // 2
    # the answer at j + k is the weight that token j + k gives to token j: the taps read backwards
    answer = apply(layer, impulse)[0, 15 - reach : 16 + reach].T[:, ::-1]
    np.testing.assert_allclose(answer, taps, rtol=0, atol=1e-6)


def test_taps_of_layers_stacked_over_blocks_are_those_of_each_layer():
    for name in ("heat learned", "adaptive 7", "free", "multiscale", "gated"):
        layers = [randomised(LAYERS[name](), seed=seed) for seed in range(2)]
        graphdef = nnx.graphdef(layers[0])
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *(nnx.state(layer) for layer in layers))
        np.testing.assert_allclose(
            nnx.merge(graphdef, stacked).taps(), jnp.stack([layer.taps() for layer in layers]), rtol=1e-6
        )


# Laws


def check_laws(layer, u, segment_ids):
    """Every law of a stable step, with the rounding of float64 alone as slack."""
    out = apply(layer, u, segment_ids)
    valid = VALID if segment_ids is not None else True
    assert jnp.all(jnp.sum(jnp.square(out), axis=(1, 2)) <= jnp.sum(jnp.square(u), axis=(1, 2)) * (1 + 1e-14))
    assert jnp.max(jnp.abs(out)) <= jnp.max(jnp.abs(u)) * (1 + 1e-14)
    mass = jnp.sum(jnp.where(valid, out - u, 0), axis=1)
    np.testing.assert_allclose(mass, jnp.zeros_like(mass), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", STABLE)
def test_no_parameters_make_a_layer_unstable(name, x64):
    for seed in range(12):
        for segment_ids in (None, SEGMENTS):
            check_laws(extreme(LAYERS[name](), seed), states(seed=seed), segment_ids)


@pytest.mark.parametrize("name", STABLE)
def test_no_optimizer_step_makes_a_layer_unstable(name, x64):
    graphdef, params = nnx.split(LAYERS[name]())
    u, target = states(), 1e6 * states(seed=1)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(nnx.merge(graphdef, p)(u) - target))))(params)
    updates, _ = optax.sgd(1e6).update(gradient, optax.sgd(1e6).init(params))
    moved = optax.apply_updates(params, updates)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(moved))
    check_laws(nnx.merge(graphdef, moved), u, None)


@pytest.mark.parametrize("name", LINEAR)
def test_a_step_never_raises_its_own_energy(name, x64):
    for seed in range(6):
        layer, u = extreme(LAYERS[name](), seed), states(seed=seed)
        once = apply(layer, u, SEGMENTS)
        energy = jnp.sum(u * (u - once), axis=(1, 2))
        assert jnp.all(jnp.sum(once * (once - apply(layer, once, SEGMENTS)), axis=(1, 2)) <= energy + 1e-13)
        assert jnp.all(energy >= -1e-13)


@pytest.mark.parametrize("name", ["heat", "heat learned", "adaptive 3"])
def test_a_step_along_edges_of_length_one_never_raises_the_dirichlet_energy(name, x64):
    for seed in range(6):
        u = states(seed=seed)
        after = diagnostics.dirichlet_energy(apply(extreme(LAYERS[name](), seed), u, SEGMENTS), SEGMENTS)
        assert jnp.all(after <= diagnostics.dirichlet_energy(u, SEGMENTS) * (1 + 1e-14))


@pytest.mark.parametrize("name", [n for n in LINEAR if n != "heat"])
def test_weights_stay_in_the_budget(name, x64):
    for seed in range(12):
        taps = np.atleast_2d(extreme(LAYERS[name](), seed).taps())
        reach = taps.shape[1] // 2
        assert np.all(np.delete(taps, reach, axis=1) >= 0)
        assert np.all(taps[:, reach + 1 :].sum(axis=1) <= 0.5 + 1e-15)
        np.testing.assert_array_equal(taps, taps[:, ::-1])


@pytest.mark.parametrize("name", LINEAR)
def test_the_matrix_of_a_layer_has_its_spectrum_in_the_unit_interval(name, x64):
    for seed in range(6):
        layer = extreme(LAYERS[name](), seed)
        basis = jnp.broadcast_to(jnp.eye(11)[..., None], (11, 11, CHANNELS))
        for ids in (None, jnp.broadcast_to(SEGMENTS[2], (11, 11))):
            matrices = np.moveaxis(np.asarray(apply(layer, basis, ids)), -1, 0)
            np.testing.assert_allclose(matrices, np.swapaxes(matrices, 1, 2), rtol=0, atol=1e-15)
            assert np.linalg.norm(matrices, ord=2, axis=(1, 2)).max() <= 1 + 1e-14


def test_a_free_kernel_starts_as_the_constrained_layer_and_can_leave_the_stable_set():
    u = states()
    for width in (3, 5, 7):
        free, constrained = (
            AdaptiveStencil(CHANNELS, width=width, free=True),
            AdaptiveStencil(CHANNELS, width=width),
        )
        np.testing.assert_allclose(apply(free, u, SEGMENTS), apply(constrained, u, SEGMENTS), atol=1e-6)
    grown = apply(randomised(AdaptiveStencil(CHANNELS, free=True), scale=3.0), u)
    assert jnp.linalg.norm(grown) > 1.5 * jnp.linalg.norm(u)


# Padding and packing


def forms(name):
    return (False, True) if name in CAUSAL else (False,)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_is_never_read_and_never_changed(name):
    layer, u = randomised(LAYERS[name]()), states()
    for causal in forms(name):
        out = apply(layer, u, SEGMENTS, causal=causal)
        poisoned = apply(layer, jnp.where(VALID, u, jnp.nan), SEGMENTS, causal=causal)
        np.testing.assert_array_equal(jnp.where(VALID, poisoned, 0), jnp.where(VALID, out, 0))
        np.testing.assert_array_equal(jnp.where(VALID, 0, out), jnp.where(VALID, 0, u))


@pytest.mark.parametrize("name", LAYERS)
def test_padding_reaches_no_gradient(name):
    graphdef, params = nnx.split(randomised(LAYERS[name]()))

    def loss(params, u):
        return jnp.sum(jnp.sin(jnp.where(VALID, nnx.merge(graphdef, params)(u, SEGMENTS), 0)))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    clean = gradient(params, jnp.where(VALID, states(), 0))
    poisoned = gradient(params, jnp.where(VALID, states(), jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, poisoned, clean)


@pytest.mark.parametrize("name", LAYERS)
def test_a_packed_row_equals_its_segments_one_by_one(name):
    layer, u = randomised(LAYERS[name]()), states(batch=1)
    for causal in forms(name):
        packed = apply(layer, u, jnp.asarray([[5] * 4 + [3] * 4 + [0] * 3]), causal=causal)
        for start in (0, 4):
            alone = apply(layer, u[:, start : start + 4], causal=causal)
            np.testing.assert_allclose(packed[:, start : start + 4], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [1, 2])
def test_a_sequence_shorter_than_the_stencil_is_served(name, length, x64):
    layer, u = randomised(LAYERS[name]()), states(batch=1, length=length)
    np.testing.assert_allclose(apply(layer, u)[0], oracle(layer, u[0], [1] * length), rtol=0, atol=1e-13)


# Causality


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.codegen
def test_a_causal_layer_reads_no_later_token_bit_for_bit(name):
    layer, u, other = randomised(LAYERS[name]()), states(), 100 * states(seed=5)
    before = apply(layer, u, causal=True)
    for t in (1, 4, 10):
        changed = apply(layer, u.at[:, t:].set(other[:, t:]), causal=True)
        np.testing.assert_array_equal(changed[:, :t], before[:, :t])
        assert jnp.all(changed[:, t] != before[:, t])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_layer_is_non_expansive_in_the_maximum_norm(name, x64):
    for seed in range(12):
        u = states(seed=seed)
        out = apply(extreme(LAYERS[name](), seed), u, SEGMENTS, causal=True)
        assert jnp.max(jnp.abs(out)) <= jnp.max(jnp.abs(u)) * (1 + 1e-14)


def test_one_causal_heat_step_is_one_causal_adaptive_step_of_width_three():
    u = states()
    heat, adaptive = HeatLayer(0.1), AdaptiveStencil(CHANNELS, alpha=0.1)
    for causal in (True, False):
        expected = apply(heat, u, SEGMENTS, causal=causal)
        np.testing.assert_allclose(apply(adaptive, u, SEGMENTS, causal=causal), expected, atol=1e-6)


# Gradient and precision


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "heat"])
def test_every_parameter_learns_from_the_first_step(name):
    graphdef, params = nnx.split(LAYERS[name]())
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graphdef, p)(states())))))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        where = jax.tree_util.keystr(path)
        if not (name == "adaptive 3" and "share" in where):  # one offset has nothing to share
            assert jnp.any(jnp.abs(leaf) > 1e-6), where


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_have_a_type_of_their_own(name):
    """A weakly typed one would become float32 in the first update, and the training step compile again."""
    assert not any(x.weak_type for x in jax.tree.leaves(nnx.state(LAYERS[name]())))


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_is_rounded_once(name):
    layer, u = randomised(LAYERS[name]()), states(dtype=jnp.bfloat16)
    out = apply(layer, u, SEGMENTS)
    assert out.dtype == jnp.bfloat16
    exact = apply(layer, u.astype(jnp.float32), SEGMENTS)
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", ["heat", "input adaptive", "free", "gated"])
def test_a_layer_under_jit_equals_the_eager_one(name):
    layer, u = randomised(LAYERS[name]()), states()
    np.testing.assert_allclose(apply(layer, u, SEGMENTS), layer(u, SEGMENTS), rtol=0, atol=1e-6)


# The choice of a layer


def test_a_stencil_builds_its_layer_with_its_options():
    heat = StencilConfig("heat", alpha=0.5, steps=3).build(4)
    assert isinstance(heat, HeatLayer)
    assert (heat.alpha, heat.steps) == (0.5, 3)
    adaptive = StencilConfig("adaptive", width=7, input_adaptive=True).build(4)
    assert isinstance(adaptive, AdaptiveStencil)
    assert adaptive.taps().shape == (4, 7)
    assert adaptive.gate is not None
    scales = StencilConfig("multiscale", dilations=(1, 3), alpha=0.2, gated=True).build(4)
    assert isinstance(scales, MultiScaleStencil)
    np.testing.assert_allclose(scales.taps(), [[0.1, 0.0, 0.1, 0.6, 0.1, 0.0, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: HeatLayer(0.6), "alpha <= 1/2 to be non-expansive, got 0.6"),
        (lambda: HeatLayer(0.0), "0 < alpha"),
        (lambda: HeatLayer(0.5, learned=True), "alpha < 1/2"),
        (lambda: HeatLayer(steps=0), "at least one step, got steps=0"),
        (lambda: AdaptiveStencil(4, width=4), "width 3, 5 or 7, got 4"),
        (lambda: AdaptiveStencil(4, alpha=0.5), "alpha < 1/2"),
        (lambda: AdaptiveStencil(4, free=True, input_adaptive=True), "got both"),
        (lambda: MultiScaleStencil(4, dilations=(1, 1)), "different lengths >= 1"),
        (lambda: MultiScaleStencil(4, dilations=()), "different lengths >= 1"),
        (lambda: AdaptiveStencil(CHANNELS, free=True)(states(), causal=True), "use free=False"),
        (lambda: MultiScaleStencil(CHANNELS, gated=True)(states(), causal=True), "use gated=False"),
        (lambda: StencilConfig("heat", gated=True), "gated belongs to kind 'multiscale', got gated=True"),
        (lambda: StencilConfig("adaptive", learned=True), "learned belongs to kind 'heat'"),
        (lambda: replace(StencilConfig(), kind="wave"), "one of heat, adaptive, multiscale, got 'wave'"),
    ],
)
def test_a_mistake_is_refused_with_rule_value_and_remedy(build, words, monkeypatch):
    # the annotation check of the tests would be first to refuse a value outside a Literal
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        build()
