"""PDE attention with learned coefficients: by hand, its definition, stable whatever its parameters, in models."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import tyro
from flax import nnx
from jax.test_util import check_grads

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, sharding, train
from pdeformer.attention import dot_product_attention, pde_attention, pde_attention_weights
from pdeformer.layers import PDEAttention, PDEAttentionConfig
from pdeformer.layers.attention import Kind
from pdeformer.model import CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.model.block import Block
from pdeformer.pde import PDE

HEADS = 2
INITIAL: dict[Kind, PDE] = {
    "diffusion": Diffusion(0.1),
    "wave": Wave(0.15),
    "reaction-diffusion": ReactionDiffusion(0.1, 0.02),
    "advection-diffusion": AdvectionDiffusion(0.1, 0.03),
}
REACTIONS = {
    "spread": {},
    "sharpen": {"beta": -0.02},
    "euler": {"order": "euler", "beta": 0.3},
    "euler sharpen": {"order": "euler", "beta": -0.3},
    "euler allen_cahn": {"order": "euler", "reaction": "allen_cahn"},
    "first": {"order": "reaction_first"},
    "first sharpen": {"order": "reaction_first", "beta": -0.2},
    "first allen_cahn": {"order": "reaction_first", "reaction": "allen_cahn"},
    "allen_cahn": {"reaction": "allen_cahn"},
}
# every equation, target, axis and reaction, and every share, once at least
FORMS = {
    "diffusion": {"kind": "diffusion"},
    "diffusion per step": {"kind": "diffusion", "share": "step", "axis": "query"},
    "wave": {"kind": "wave"},
    "wave on logits": {"kind": "wave", "target": "logits", "axis": "both", "share": "layer"},
    "advection": {"kind": "advection-diffusion", "share": "step"},
    "advection back": {"kind": "advection-diffusion", "beta": -0.2, "axis": "both", "window": 3},
    "performer": {"kind": "advection-diffusion", "base": "performer", "features": 8, "feature_seed": 3},
    **{name: {"kind": "reaction-diffusion", **options} for name, options in REACTIONS.items()},
    "reaction per step": {"kind": "reaction-diffusion", "share": "step", "steps": 3},
    "reaction on logits": {"kind": "reaction-diffusion", "target": "logits", "reaction": "allen_cahn"},
}
CAUSAL = [name for name, form in FORMS.items() if not {"target", "axis"} & form.keys()]
SEGMENTS = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 1], [3] * 4 + [0] * 2 + [3] * 5], jnp.int32)
TINY = ModelConfig(
    vocabulary=11,
    width=8,
    heads=HEADS,
    ffn=12,
    max_len=16,
    classes=3,
    dropout=0.0,
    attention_dropout=0.0,
)
EVOLVED = replace(TINY, attention=PDEAttentionConfig("advection-diffusion", share="step", steps=2, beta=0.3))
PACKED = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]] * 2, jnp.int32)


def build(name, **changes):
    return PDEAttention(HEADS, **FORMS[name] | changes)


def arrays(length=11, seed=0, dtype=None):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=(2, length, HEADS, 4)), dtype) for _ in range(3))


@partial(jax.jit, static_argnums=0, static_argnames="is_causal")
def run(graphdef, params, qkv, segment_ids=None, *, is_causal=False):
    return nnx.merge(graphdef, params)(*qkv, segment_ids=segment_ids, is_causal=is_causal)


def apply(layer, qkv, segment_ids=None, *, is_causal=False):
    return run(*nnx.split(layer), qkv, segment_ids, is_causal=is_causal)


def moved(layer, seed=0):
    """The layer with every parameter moved by normal numbers, so that heads and steps differ."""
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(layer)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape), x.dtype), params)
    )


def extreme(layer, seed):
    """The layer with every parameter at one of the far ends."""
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(layer)
    ends = [-1e30, -1e4, -10.0, 0.0, 10.0, 1e4, 1e30]

    def draw(x):
        return jnp.asarray(rng.choice(ends, size=x.shape), x.dtype)

    return nnx.merge(graphdef, jax.tree.map(draw, params))


OPTIONS = ("steps", "target", "axis", "base", "window", "renormalize", "order", "features")


@partial(jax.jit, static_argnames=("function", "is_causal", *OPTIONS))
def defined(function, qkv, pde, **options):
    return function(*qkv, pde, method="materialized", **options)


def definition(layer, qkv, function: Any = pde_attention, **call):
    """The function of `pdeformer.attention` with the coefficients and options of the layer."""
    choice = layer.choice
    options = {name: getattr(choice, name) for name in OPTIONS} | call
    key = jax.random.key(choice.feature_seed) if choice.base == "performer" else None
    return defined(function, qkv, layer.pde(), feature_key=key, **options)


@partial(jax.jit, static_argnums=0)
def slopes(graphdef, params, qkv):
    """A loss and the coefficients, and the gradients of the loss in the parameters and in query, key and value."""

    def loss(params, qkv):
        layer = nnx.merge(graphdef, params)
        return jnp.sum(jnp.sin(layer(*qkv, segment_ids=SEGMENTS))), layer.pde()

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, qkv)


# By hand


@pytest.mark.parametrize("share", ["head", "layer", "step"])
@pytest.mark.parametrize("kind", INITIAL)
def test_a_layer_starts_at_the_coefficients_of_its_kind(kind, share):
    pde, shape = (
        PDEAttention(HEADS, kind=kind, share=share).pde(),
        {"head": (2,), "layer": (), "step": (4, 2)},
    )
    assert type(pde) is type(INITIAL[kind])
    for name, value in INITIAL[kind].coefficients().items():
        assert pde.coefficients()[name].shape == shape[share]
        np.testing.assert_allclose(pde.coefficients()[name], value, rtol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_layer_starts_at_the_coefficients_it_was_given(name):
    layer = build(name)
    for key, value in layer.pde().coefficients().items():
        np.testing.assert_allclose(value, layer.choice.initial().coefficients()[key], rtol=2e-6)


def test_one_step_of_diffusion_by_hand():
    layer = PDEAttention(1, steps=1, alpha=0.25)
    query, key = jnp.full((1, 1, 1, 1), 1e3), jnp.asarray([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    value = jnp.asarray([4.0, 8.0, 16.0]).reshape(1, 3, 1, 1)
    # the query sees key 0 alone, and after the step 3/4 of it and 1/4 of its neighbour
    np.testing.assert_allclose(layer(query, key, value).ravel(), [0.75 * 4 + 0.25 * 8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "numbers", "expected"),
    [
        ({}, {"alpha": 0.0}, {"alpha": 0.25}),
        ({"kind": "wave"}, {"speed": 0.0}, {"speed": 0.5}),
        (
            {"kind": "advection-diffusion"},
            {"alpha": 0.0, "beta": -np.arctanh(0.5)},
            {"alpha": 0.25, "beta": -0.25},
        ),
        # 8 / n, (1 - 2α) m and m / n with n = 4, half of which is taken at b = 0
        (FORMS["spread"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 1.0}),
        (FORMS["sharpen"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": -1.0}),
        (FORMS["euler"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 0.25}),
        (FORMS["euler allen_cahn"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 0.125}),
        (
            FORMS["euler sharpen"],
            {"alpha": 0.0, "beta": 0.0},
            {"alpha": 0.25, "beta": -0.25 * (1 - np.exp(-2))},
        ),
        (
            FORMS["first sharpen"],
            {"alpha": 0.0, "beta": 0.0},
            {"alpha": 0.25, "beta": -0.125 * (1 - np.exp(-8))},
        ),
    ],
)
def test_free_numbers_map_to_the_coefficients_of_the_docstring(options, numbers, expected):
    layer = PDEAttention(HEADS, share="layer", **options)
    for name, value in numbers.items():
        layer.free[name][...] = jnp.asarray(value, jnp.float32)
    found = {name: float(value) for name, value in layer.pde().coefficients().items()}
    assert found == pytest.approx(expected, rel=1e-6)


# Oracle


@pytest.mark.parametrize("name", FORMS)
def test_a_layer_is_the_definition_with_its_coefficients(name):
    layer = moved(build(name))
    for is_causal, ids in ((False, SEGMENTS), (True, None)) if name in CAUSAL else ((False, SEGMENTS),):
        expected = definition(layer, arrays(), segment_ids=ids, is_causal=is_causal)
        actual = apply(layer, arrays(), ids, is_causal=is_causal)
        np.testing.assert_allclose(actual, expected, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_step_is_plain_attention(is_causal):
    qkv = arrays()
    layer = PDEAttention(HEADS, kind="wave", steps=0)
    expected = dot_product_attention(*qkv, segment_ids=SEGMENTS, is_causal=is_causal)
    np.testing.assert_allclose(apply(layer, qkv, SEGMENTS, is_causal=is_causal), expected, rtol=0, atol=1e-6)


def test_coefficients_that_are_not_learned_are_floats_and_no_parameters():
    layer = PDEAttention(HEADS, kind="wave", speed=1.0, learned=False)
    assert layer.pde() == Wave(1.0)
    assert not jax.tree.leaves(nnx.state(layer))
    np.testing.assert_allclose(apply(layer, arrays()), definition(layer, arrays()), rtol=3e-5, atol=3e-5)


def test_random_features_are_those_of_the_seed():
    same, other = build("performer"), build("performer", feature_seed=4)
    np.testing.assert_array_equal(apply(same, arrays()), apply(build("performer"), arrays()))
    assert not np.allclose(apply(same, arrays()), apply(other, arrays()), atol=1e-2)


# Laws


@pytest.mark.parametrize("name", FORMS)
def test_no_parameters_make_a_layer_unstable(name):
    for seed in range(6):
        (value, pde), gradient = slopes(*nnx.split(extreme(build(name), seed)), arrays())
        assert pde.stable(1.0)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((value, pde, gradient)))


@pytest.mark.parametrize("name", FORMS)
def test_every_parameter_learns_from_the_first_step(name):
    _, (gradient, _) = slopes(*nnx.split(build(name)), arrays())
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.all(np.abs(leaf) > 1e-9), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", [n for n in CAUSAL if n not in ("wave", "performer")])
def test_weights_stay_in_the_unit_interval_and_keep_mass_whatever_the_parameters(name, x64):
    query, key, _ = arrays(dtype=jnp.float64)
    linear = build(name).choice.kind != "reaction-diffusion"
    for seed in range(6):
        layer = extreme(build(name, renormalize="none"), seed)
        weights = definition(layer, (8 * query, key), pde_attention_weights)
        mass = np.asarray(weights.sum(-1))
        assert weights.min() >= -1e-12
        assert weights.max() <= 1 + 1e-12
        assert mass.min() >= np.exp(-8) * (1 - 1e-12)
        if linear:
            np.testing.assert_allclose(mass, 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["diffusion", "wave on logits", "advection", "sharpen", "euler", "first"])
def test_no_optimizer_step_makes_a_layer_unstable(name):
    graphdef, params = nnx.split(build(name))
    target = 1e6 * arrays(seed=1)[0]
    loss = lambda p: jnp.sum(jnp.square(nnx.merge(graphdef, p)(*arrays()) - target))  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(params)
    after = optax.apply_updates(params, jax.tree.map(lambda g: -1e6 * g, gradient))
    assert max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(after)) > 1e4
    layer = nnx.merge(graphdef, after)
    assert layer.pde().stable(1.0)
    assert jnp.all(jnp.isfinite(apply(layer, arrays())))


def test_reactions_spread_and_sharpen_rows():
    query, key, _ = arrays()
    peak = lambda **o: definition(  # noqa: E731
        PDEAttention(HEADS, kind="reaction-diffusion", alpha=1e-6, **o),
        (3 * query, key),
        pde_attention_weights,
    ).max(-1)
    plain = peak(beta=1e-6)
    assert jnp.all(peak(beta=0.5) < plain)
    assert jnp.all(peak(beta=-0.5) > plain)


# Gradient and precision


def test_gradients_are_those_of_finite_differences(x64):
    qkv = arrays(dtype=jnp.float64)
    for name in ("advection", "euler sharpen", "wave on logits"):
        graphdef, params = nnx.split(moved(build(name)))
        loss = jax.jit(lambda p, g=graphdef: jnp.sum(jnp.sin(nnx.merge(g, p)(*qkv))))
        check_grads(loss, (params,), order=1, modes=["rev"], atol=1e-7, rtol=1e-6)


def test_output_has_the_type_of_the_values():
    layer = moved(build("advection"))
    narrow = apply(layer, arrays(dtype=jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    wide = apply(layer, tuple(x.astype(jnp.float32) for x in arrays(dtype=jnp.bfloat16)))
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


# Models


def tokens(length=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 11, (2, length)), jnp.int32)


@partial(jax.jit, static_argnums=0, static_argnames="method")
def run_model(graphdef, params, *inputs, key=None, method="__call__"):
    return getattr(nnx.merge(graphdef, params), method)(*inputs, key=key)


def call(model, *inputs, key=None, method="__call__"):
    return run_model(*nnx.split(model), *inputs, key=key, method=method)


def parameters(model):
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return {sharding.path_name(path): leaf for path, leaf in leaves}


@pytest.mark.parametrize("shell", [Classifier, Matcher, CausalLM])
def test_evolved_attention_adds_coefficients_and_changes_no_other_weight(shell):
    base, variant = (parameters(shell(config, nnx.Rngs(5))) for config in (TINY, EVOLVED))
    added = {f"blocks/attention/evolution/free/{name}" for name in ("alpha", "beta")}
    assert variant.keys() - base.keys() == added
    assert all(variant[name].shape == (2, 2, HEADS) for name in added)  # layers, steps, heads
    for name, value in base.items():
        np.testing.assert_array_equal(variant[name], value, err_msg=name)


def test_a_model_without_steps_is_its_baseline():
    config = replace(TINY, attention=PDEAttentionConfig("diffusion", steps=0))
    base, variant = (Classifier(c, nnx.Rngs(0)) for c in (TINY, config))
    np.testing.assert_allclose(call(variant, tokens()), call(base, tokens()), rtol=0, atol=1e-6)


def test_the_attention_of_a_block_is_evolved_between_its_projections():
    block = Block(EVOLVED, jax.random.key(0), causal=True)
    u, attention = jax.random.normal(jax.random.key(1), (2, 12, 8)), block.attention
    qkv = tuple(f(u).reshape(2, 12, HEADS, 4) for f in (attention.query, attention.key, attention.value))
    mixed = definition(attention.evolution, qkv, segment_ids=PACKED, is_causal=True)
    expected = attention.out(mixed.reshape(2, 12, 8))
    np.testing.assert_allclose(attention(u, PACKED, key=None), expected, rtol=0, atol=1e-5)


def test_the_scan_over_stacked_blocks_gives_each_layer_its_own_coefficients():
    model = moved(Classifier(replace(EVOLVED, layers=3), nnx.Rngs(0)))
    graphdef, params = nnx.split(model.blocks)
    single = jax.jit(lambda layer, u: nnx.merge(graphdef, layer)(u, PACKED))
    u = start = jax.random.normal(jax.random.key(1), (2, 12, 8))
    for layer in range(3):
        u = single(jax.tree.map(lambda x: x[layer], params), u)  # noqa: B023  used in this turn only
    scanned = jax.jit(lambda u: model.run_blocks(u, PACKED, None))(start)
    np.testing.assert_allclose(scanned, u, rtol=1e-5, atol=1e-4)  # a residual stream of up to 100
    alpha = model.blocks.attention.evolution.pde().alpha
    assert len(np.unique(alpha)) == alpha.size == 3 * 2 * HEADS


@pytest.mark.parametrize("name", ["advection", "sharpen", "performer"])
@pytest.mark.codegen
def test_a_causal_model_reads_no_later_token_bit_for_bit(name):
    config = replace(TINY, attention=PDEAttentionConfig(**FORMS[name]))
    model = moved(CausalLM(config, nnx.Rngs(0)))
    before = call(model, tokens())
    for t in (1, 6, 11):
        after = call(model, tokens().at[:, t:].set((tokens()[:, t:] + 1) % 11))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert jnp.all(jnp.any(after[:, t] != before[:, t], axis=-1))


@pytest.mark.parametrize("name", ["advection", "spread"])
def test_no_gradient_of_a_causal_model_reaches_a_later_token(name):
    config = replace(TINY, attention=PDEAttentionConfig(**FORMS[name]))
    graphdef, params = nnx.split(moved(CausalLM(config, nnx.Rngs(0))))
    distinct = jnp.arange(11)[None]  # token j stands at place j alone, so row j of the table is its embedding
    gradient = jax.jit(jax.grad(lambda p, t: jnp.sum(jnp.sin(nnx.merge(graphdef, p)(distinct)[:, t]))))
    for t in (0, 4, 9):
        rows = np.asarray(gradient(params, t).embed.tokens.embedding[...])
        np.testing.assert_array_equal(rows[t + 1 :], 0)
        assert np.all(np.any(rows[: t + 1] != 0, axis=1))


@pytest.mark.parametrize("shell", [Classifier, CausalLM])
def test_packed_segments_read_as_they_do_alone(shell):
    model = moved(shell(EVOLVED, nnx.Rngs(0)))
    packed = call(model, tokens(), PACKED, method="hidden_states")
    for start in (0, 5):
        alone = call(model, tokens()[:, start : start + 5], method="hidden_states")
        np.testing.assert_allclose(packed[:, start : start + 5], alone, rtol=0, atol=2e-5)


def test_padding_changes_no_logit():
    model = moved(Classifier(EVOLVED, nnx.Rngs(0)))
    expected = call(model, tokens(9))
    ids = jnp.pad(jnp.ones((2, 9), jnp.int32), ((0, 0), (0, 3)))
    for filler in (1, 2):
        padded = jnp.concatenate([tokens(9), tokens(3, seed=filler)], axis=1)
        np.testing.assert_allclose(call(model, padded, ids), expected, rtol=0, atol=2e-5)


def test_attention_dropout_is_drawn_from_the_key():
    model = Classifier(replace(EVOLVED, attention_dropout=0.3), nnx.Rngs(0))
    key, other = jax.random.key(1), jax.random.key(2)
    dropped = call(model, tokens(), key=key)
    np.testing.assert_array_equal(call(model, tokens(), key=key), dropped)
    assert jnp.all(dropped != call(model, tokens(), key=other))
    plain = call(Classifier(EVOLVED, nnx.Rngs(0)), tokens())
    np.testing.assert_allclose(call(model, tokens()), plain, rtol=0, atol=1e-6)


def test_a_matcher_reads_both_towers_with_evolved_attention():
    evolved, base = (Matcher(config, nnx.Rngs(0)) for config in (EVOLVED, TINY))
    a, b = tokens(), tokens(7, seed=1)
    assert not np.allclose(call(evolved, a, b), call(base, a, b), atol=1e-4)


def test_a_training_step_compiles_once_and_moves_replicated_coefficients_on_any_mesh():
    optimizer = train.Optimizer(learning_rate=1e-2, schedule="constant", weight_decay=0.1)
    batch = {"tokens": np.asarray(tokens()), "segment_ids": np.asarray(PACKED), "labels": np.array([0, 2])}
    learned = []
    for mesh in (sharding.make_mesh(data=1), sharding.make_mesh(data=2, model=2)):
        graphdef, state, places = train.init_state(
            lambda rngs: Classifier(EVOLVED, rngs), optimizer, 10, mesh, seed=0
        )
        step = train.make_train_step(graphdef, optimizer, 10, mesh, places)
        start = jax.device_get(state.params["blocks"]["attention"]["evolution"]["free"])
        for _ in range(2):
            state, metrics = step(state, sharding.put_batch(batch, mesh), jax.random.key(0))
            assert metrics.finite
        assert step._cache_size() == 1
        free = state.params["blocks"]["attention"]["evolution"]["free"]
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(free))
        assert all(np.all(a != b) for a, b in zip(*map(jax.tree.leaves, (free, start)), strict=True))
        learned.append(jax.device_get(free))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), *learned)
    names = {name for name, on in parameters_of(train.decayed(state.params)) if on}
    assert not any("evolution" in name for name in names)


def parameters_of(tree):
    return [(sharding.path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


# The choice


def test_a_choice_is_a_command_line():
    words = (
        "--attention.kind reaction-diffusion --attention.beta 0.1 --attention.steps 2 --attention.no-learned"
    )
    config = tyro.cli(ModelConfig, args=words.split())
    assert config == ModelConfig(
        attention=PDEAttentionConfig("reaction-diffusion", beta=0.1, steps=2, learned=False)
    )


def test_no_kind_builds_no_layer():
    assert PDEAttentionConfig().build(4) is None
    layer = PDEAttentionConfig("wave", share="step").build(4)
    assert layer is not None
    assert layer.pde().coefficients()["speed"].shape == (4, 4)


def test_a_choice_makes_no_array(monkeypatch):
    """It may be made before the hosts of a pod have joined."""

    def refuse(*args, **options):
        raise AssertionError("an array was made")

    monkeypatch.setattr(jnp, "asarray", refuse)
    monkeypatch.setattr(jnp, "full", refuse)
    monkeypatch.setattr(jax.random, "key", refuse)
    for form in FORMS.values():
        PDEAttentionConfig(**form)


def choose(kind: Any = "diffusion", **options):
    return lambda: PDEAttentionConfig(kind, **options)


def model(shell: Any = Classifier, *, config=TINY, **options):
    return lambda: shell(replace(config, attention=PDEAttentionConfig(**options)), nnx.Rngs(0))


REACTION = "reaction-diffusion"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (choose("heat"), "kind must be one of none, diffusion, wave, .*got 'heat'"),
        (choose(share="heads"), "share must be one of head, layer, step, got 'heads'"),
        (choose(target="scores"), "target must be one of weights, logits, got 'scores'"),
        (choose("none", steps=2), "steps belongs to kind diffusion or .*got steps=2 with kind 'none'"),
        (choose(beta=0.1), "beta belongs to kind reaction-diffusion or advection-diffusion, got beta=0.1"),
        (choose("wave", alpha=0.1), "alpha belongs to kind diffusion"),
        (choose(speed=0.1), "speed belongs to kind wave"),
        (choose(order="euler"), "order belongs to kind reaction-diffusion"),
        (choose(alpha=0.5), "alpha < 1/2 to be non-expansive, got 0.5"),
        (choose(alpha=0.6, learned=False), "alpha <= 1/2 to be non-expansive, got 0.6"),
        (choose("wave", speed=1.0), "0 < speed < 1 to be stable, got 1.0"),
        (choose("wave", speed=1.1, learned=False), "speed <= 1 to be stable, got 1.1"),
        (choose("advection-diffusion", beta=0.8), r"\|beta\| < 0.8 to be stable with alpha=0.1"),
        (choose(REACTION, beta=2.5), r"\|beta\| < 2 to be stable with alpha=0.1 and 4 steps, got beta=2.5"),
        (choose(REACTION, beta=0.0), "keeps the sign of its initial beta, got beta=0"),
        (choose(REACTION, axis="query"), "acts on the distribution of one query, got axis='query'"),
        (choose(REACTION, target="logits"), "'fisher' reaction needs values >= 0"),
        (choose(REACTION, target="logits", reaction="allen_cahn", beta=-0.1), "logits leave .*beta=-0.1"),
        (choose(REACTION, target="logits", reaction="allen_cahn", order="euler"), "logits leave .*'euler'"),
        (choose(steps=-1), "steps must be a Python integer >= 0, got -1"),
        (choose(steps=0, share="step"), "got steps=0, learned=True; use share='head'"),
        (choose(share="step", learned=False), "got steps=4, learned=False; use share='head'"),
        (choose(base="performer"), "needs features >= 1"),
        (choose(features=8), "belong to base 'performer'"),
        (choose(feature_seed=1), "feature_seed belongs to base 'performer', got 1"),
        (choose(base="performer", features=8, window=2), "window is a band of the softmax"),
        (lambda: PDEAttention(2, kind="none"), "kind 'none' has no equation"),
        (model(CausalLM, kind="wave", target="logits"), "causal attention evolves only along the keys"),
        (model(CausalLM, kind="diffusion", axis="query"), "use target='weights', axis='key'"),
        (
            model(
                config=replace(TINY, attention_dropout=0.1), kind="diffusion", base="performer", features=8
            ),
            "dropout acts on softmax weights, got 0.1",
        ),
        (
            model(config=replace(TINY, attention_dropout=0.1), kind=REACTION, beta=-0.1),
            "attention dropout lifts weights above 1, .*got dropout=0.1, beta=-0.1",
        ),
        (
            lambda: PDEAttention(2, kind=REACTION, order="euler")(
                *arrays(), dropout=0.1, dropout_key=jax.random.key(0)
            ),
            "attention dropout lifts weights above 1, .*order='euler'",
        ),
        (lambda: PDEAttention(3)(*arrays()), r"one value per head, \(2,\)"),
    ],
)
def test_a_mistake_is_refused_with_rule_value_and_remedy(make, words, monkeypatch):
    # the annotation check of the tests would be first to refuse a value outside a Literal
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words):
        make()
