"""PDE attention with learned coefficients in models: blocks, scans, causality, packing, training on a mesh."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer import sharding, train
from pdeformer.layers import PDEAttentionConfig
from pdeformer.model import CausalLM, Classifier, Matcher
from pdeformer.model.block import Block
from tests.pdeformer.attention.pde_layers import (
    EVOLVED,
    FORMS,
    HEADS,
    PACKED,
    TINY,
    definition,
    perturb,
)


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
    coefficients = {f"blocks/attention/evolution/free/{name}" for name in ("alpha", "beta")}
    assert variant.keys() - base.keys() == coefficients
    assert all(variant[name].shape == (2, 2, HEADS) for name in coefficients)  # layers, steps, heads
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
    evolved = definition(attention.evolution, qkv, segment_ids=PACKED, is_causal=True)
    expected = attention.out(evolved.reshape(2, 12, 8))
    np.testing.assert_allclose(attention(u, PACKED, key=None), expected, rtol=0, atol=1e-5)


def test_the_scan_over_stacked_blocks_gives_each_layer_its_own_coefficients():
    model = perturb(Classifier(replace(EVOLVED, layers=3), nnx.Rngs(0)))
    graphdef, params = nnx.split(model.blocks)
    single = jax.jit(lambda layer, u: nnx.merge(graphdef, layer)(u, PACKED))
    u = start = jax.random.normal(jax.random.key(1), (2, 12, 8))
    for layer in range(3):
        u = single(jax.tree.map(lambda x: x[layer], params), u)  # noqa: B023  used in this iteration only
    scanned = jax.jit(lambda u: model.run_blocks(u, PACKED, None))(start)
    np.testing.assert_allclose(scanned, u, rtol=1e-5, atol=1e-4)  # a residual stream of up to 100
    alpha = model.blocks.attention.evolution.pde().alpha
    assert len(np.unique(alpha)) == alpha.size == 3 * 2 * HEADS


@pytest.mark.parametrize("name", ["advection", "sharpen", "performer"])
@pytest.mark.codegen
def test_a_causal_model_reads_no_later_token_bit_for_bit(name):
    config = replace(TINY, attention=PDEAttentionConfig(**FORMS[name]))
    model = perturb(CausalLM(config, nnx.Rngs(0)))
    before = call(model, tokens())
    for t in (1, 6, 11):
        after = call(model, tokens().at[:, t:].set((tokens()[:, t:] + 1) % 11))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert jnp.all(jnp.any(after[:, t] != before[:, t], axis=-1))


@pytest.mark.parametrize("name", ["advection", "spread"])
def test_no_gradient_of_a_causal_model_reaches_a_later_token(name):
    config = replace(TINY, attention=PDEAttentionConfig(**FORMS[name]))
    graphdef, params = nnx.split(perturb(CausalLM(config, nnx.Rngs(0))))
    distinct = jnp.arange(11)[None]  # token j is only at position j, so row j of the table is its embedding
    gradient = jax.jit(jax.grad(lambda p, t: jnp.sum(jnp.sin(nnx.merge(graphdef, p)(distinct)[:, t]))))
    for t in (0, 4, 9):
        rows = np.asarray(gradient(params, t).embed.tokens.embedding[...])
        np.testing.assert_array_equal(rows[t + 1 :], 0)
        assert np.all(np.any(rows[: t + 1] != 0, axis=1))


@pytest.mark.parametrize("shell", [Classifier, CausalLM])
def test_packed_segments_read_as_they_do_alone(shell):
    model = perturb(shell(EVOLVED, nnx.Rngs(0)))
    packed = call(model, tokens(), PACKED, method="hidden_states")
    for start in (0, 5):
        alone = call(model, tokens()[:, start : start + 5], method="hidden_states")
        np.testing.assert_allclose(packed[:, start : start + 5], alone, rtol=0, atol=2e-5)


def test_padding_changes_no_logit():
    model = perturb(Classifier(EVOLVED, nnx.Rngs(0)))
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
    parameters_by_mesh = []
    for mesh in (sharding.make_mesh(data=1), sharding.make_mesh(data=2, model=2)):
        graphdef, state, shardings = train.init_state(
            lambda rngs: Classifier(EVOLVED, rngs), optimizer, 10, mesh, seed=0
        )
        step = train.make_train_step(graphdef, optimizer, 10, mesh, shardings)
        start = jax.device_get(state.params["blocks"]["attention"]["evolution"]["free"])
        for _ in range(2):
            state, metrics = step(state, sharding.put_batch(batch, mesh), jax.random.key(0))
            assert metrics.finite
        assert step._cache_size() == 1
        free = state.params["blocks"]["attention"]["evolution"]["free"]
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(free))
        assert all(np.all(a != b) for a, b in zip(*map(jax.tree.leaves, (free, start)), strict=True))
        parameters_by_mesh.append(jax.device_get(free))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), *parameters_by_mesh)
    names = {name for name, decays in parameters_of(train.decay_mask(state.params)) if decays}
    assert not any("evolution" in name for name in names)


def parameters_of(tree):
    return [(sharding.path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
