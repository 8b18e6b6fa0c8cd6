"""Models against a forward pass written out in NumPy, and the laws of padding, packing, causality and pairing."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import tyro
from flax import nnx

from pdeformer import stencil
from pdeformer.attention import dot_product_attention
from pdeformer.layers import HeatLayer, StencilConfig
from pdeformer.model import PLACEMENTS, CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.model.block import Block, dropout, named_key
from pdeformer.model.trunk import positions_in_segment, sinusoids

TINY = ModelConfig(
    vocabulary=11,
    width=8,
    layers=2,
    heads=2,
    ffn=12,
    max_len=16,
    classes=3,
    attention_bias=True,
    dropout=0.0,
    attention_dropout=0.0,
)
EVERYWHERE = replace(TINY, placements=PLACEMENTS)
STENCILS = {
    "heat": StencilConfig("heat", alpha=0.4, learned=True, steps=2),
    "adaptive": StencilConfig("adaptive", alpha=0.4, width=5, input_adaptive=True),
    "multiscale": StencilConfig("multiscale", alpha=0.4, dilations=(1, 3)),
    "gated": StencilConfig("multiscale", alpha=0.4, gated=True),
}
PACKED = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]] * 2, jnp.int32)


def tokens(batch=2, length=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 11, (batch, length)), jnp.int32)


def randomised(model, seed=0):
    """The model with biases and stencils moved away from their initial values, so that none is trivial."""
    graphdef, params = nnx.split(model)
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(x.dtype), params)
    )


@partial(jax.jit, static_argnums=0, static_argnames="method")
def run(graphdef, params, *inputs, key=None, method="__call__"):
    return getattr(nnx.merge(graphdef, params), method)(*inputs, key=key)


def call(model, *inputs, key=None, method="__call__"):
    """The model's answer, compiled once per structure and shape."""
    return run(*nnx.split(model), *inputs, key=key, method=method)


def parameters(model):
    """Name to array."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


# The forward pass in NumPy


class Written:
    """The Transformer of the docstrings for one segment per row, in float64, block after block."""

    def __init__(self, model):
        self.config, self.causal = model.config, model.causal
        self.values = {name: np.asarray(x, np.float64) for name, x in parameters(model).items()}

    def linear(self, name, u, layer=...):
        out = u @ self.values[f"{name}/kernel"][layer]
        return out + self.values[f"{name}/bias"][layer] if f"{name}/bias" in self.values else out

    def norm(self, name, u, layer=...):
        centred = u - u.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return unit * self.values[f"{name}/scale"][layer] + self.values[f"{name}/bias"][layer]

    def hook(self, place, u, layer=...):
        """One heat step with the learned diffusivity of this place."""
        if place not in self.config.placements:
            return u
        prefix = "" if place == "after_embedding" else "blocks/stencils/"
        alpha = 0.5 / (1 + np.exp(-self.values[f"{prefix}{place}/rate"][layer]))
        return u + alpha * stencil.laplacian_matrix(u.shape[1]) @ u

    def attention(self, u, layer):
        batch, length, heads = *u.shape[:2], self.config.heads
        query, key, value = (
            self.linear(f"blocks/attention/{name}", u, layer).reshape(batch, length, heads, -1)
            for name in ("query", "key", "value")
        )
        scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("bnts,bsnh->btnh", weights, value).reshape(batch, length, -1)
        return self.linear("blocks/attention/out", mixed, layer)

    def ffn(self, u, layer):
        hidden = self.linear("blocks/ffn/up", u, layer)
        return self.linear("blocks/ffn/down", np.asarray(jax.nn.gelu(jnp.asarray(hidden))), layer)

    def block(self, u, layer):
        def hook(place, u):
            return self.hook(place, u, layer)

        def norm(name, u):
            return self.norm(f"blocks/norm_{name}", u, layer)

        if self.config.norm == "pre":
            u = hook("before_norm", u)
            u = u + hook(
                "after_attention", self.attention(hook("before_attention", norm("attention", u)), layer)
            )
            u = hook("before_norm", u)
            u = u + hook("after_ffn", self.ffn(hook("before_ffn", norm("ffn", u)), layer))
        else:
            u = u + hook("after_attention", self.attention(hook("before_attention", u), layer))
            u = norm("attention", hook("before_norm", u))
            u = u + hook("after_ffn", self.ffn(hook("before_ffn", u), layer))
            u = norm("ffn", hook("before_norm", u))
        return hook("between_layers", u)

    def __call__(self, tokens):
        u = self.values["embed/tokens/embedding"][np.asarray(tokens)]
        if self.config.pooling == "cls":
            first = np.broadcast_to(self.values["embed/cls/embedding"], (len(u), 1, u.shape[2]))
            u = np.concatenate([first, u], axis=1)
        length, width = u.shape[1:]
        if self.config.positions == "learned":
            u = u + self.values["embed/positions/embedding"][:length]
        else:
            angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
            u[..., 0::2] += np.sin(angles)
            u[..., 1::2] += np.cos(angles)
        u = self.hook("after_embedding", u)
        for layer in range(self.config.layers):
            u = self.block(u, layer)
        u = self.norm("norm", u) if self.config.norm == "pre" else u
        return self.linear("head", u[:, 0] if self.config.pooling == "cls" else u.mean(axis=1))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_every_hook_acts_at_its_place(norm):
    config = replace(EVERYWHERE, norm=norm, stencil=StencilConfig("heat", learned=True))
    graphdef, params = nnx.split(randomised(Classifier(config, nnx.Rngs(0))))

    def off(path, x, kept):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jnp.full_like(x, -100.0) if "rate" in name and kept not in name else x  # α = 0, no diffusion

    alone = [jax.tree_util.tree_map_with_path(partial(off, kept=place), params) for place in PLACEMENTS]
    none = jax.tree_util.tree_map_with_path(partial(off, kept="nowhere"), params)
    written = []
    for variant in (*alone, params, none):
        model = nnx.merge(graphdef, variant)
        written.append(Written(model)(tokens()))
        np.testing.assert_allclose(call(model, tokens()), written[-1], rtol=0, atol=1e-4)
    # and the places are told apart: any two answers differ by a hundred times that tolerance
    distance = np.abs(np.stack(written)[:, None] - np.stack(written)[None]).max(axis=(2, 3))
    assert (distance + np.eye(len(written))).min() > 0.01


def test_a_model_has_layers_where_they_were_placed_and_nowhere_else():
    for places in ((), *((p,) for p in PLACEMENTS), PLACEMENTS[2:5]):
        config = replace(TINY, placements=places, stencil=StencilConfig("adaptive"))
        model = nnx.eval_shape(lambda config=config: Classifier(config, nnx.Rngs(0)))
        names = {name for name in parameters(model) if "share" in name}
        inner = {f"blocks/stencils/{p}/share" for p in places if p != "after_embedding"}
        assert names == inner | {f"{p}/share" for p in places if p == "after_embedding"}


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "cls", "positions": "learned", "norm": "post"},
        {"pooling": "cls", "head_width": 3, "attention_bias": False, "layers": 1},
    ],
    ids=str,
)
def test_the_model_is_what_its_docstrings_say(change):
    model = randomised(Classifier(replace(TINY, **change), nnx.Rngs(0)))
    np.testing.assert_allclose(call(model, tokens()), Written(model)(tokens()), rtol=0, atol=1e-4)


def test_sinusoids_by_hand():
    table = sinusoids(3, 4)
    np.testing.assert_allclose(table[0], [0.0, 1.0, 0.0, 1.0], atol=1e-7)
    np.testing.assert_allclose(table[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)], rtol=1e-6)


def test_positions_count_the_earlier_tokens_of_a_segment():
    ids = jnp.asarray([[7, 7, 0, 7, 3, 3, 0, 0], [0, 0, 1, 1, 1, 2, 1, 2]])
    np.testing.assert_array_equal(
        positions_in_segment(ids), [[0, 1, 0, 2, 0, 1, 1, 2], [0, 1, 0, 1, 2, 0, 3, 1]]
    )


def test_mixing_before_attention_mixes_query_key_and_value():
    block = Block(replace(TINY, attention_bias=False), jax.random.key(0), causal=False)
    u = jax.random.normal(jax.random.key(1), (2, 6, 8))
    mix, attention = HeatLayer(0.4), block.attention

    def split(v):
        return v.reshape(2, 6, 2, 4)

    query, key, value = (
        split(mix(project(u))) for project in (attention.query, attention.key, attention.value)
    )
    expected = attention.out(dot_product_attention(query, key, value).reshape(2, 6, 8))
    np.testing.assert_allclose(attention(mix(u), None, key=None), expected, rtol=0, atol=1e-6)


# Stacked blocks


def test_the_scan_over_stacked_blocks_equals_a_loop_over_single_blocks():
    model = randomised(Classifier(replace(EVERYWHERE, layers=3, stencil=STENCILS["adaptive"]), nnx.Rngs(0)))
    graphdef, params = nnx.split(model.blocks)
    single = jax.jit(lambda layer, u: nnx.merge(graphdef, layer)(u, PACKED))
    u = start = jax.random.normal(jax.random.key(1), (2, 12, 8))
    for layer in range(3):
        u = single(jax.tree.map(lambda x: x[layer], params), u)  # noqa: B023  used in this turn only
    scanned = jax.jit(lambda u: model._run_blocks(u, PACKED, None))(start)
    np.testing.assert_allclose(scanned, u, rtol=0, atol=1e-5)


def test_the_program_does_not_grow_with_depth():
    def equations(layers):
        config = replace(EVERYWHERE, layers=layers)
        graphdef, params = nnx.split(nnx.eval_shape(lambda: Classifier(config, nnx.Rngs(0))))
        program = jax.make_jaxpr(lambda p: nnx.merge(graphdef, p)(tokens(), PACKED))(params)
        return str(program).count("\n")

    assert equations(2) == equations(9)


def test_recomputing_blocks_changes_no_gradient():
    def gradient(config):
        graphdef, params = nnx.split(Classifier(config, nnx.Rngs(0)))

        def loss(p, graphdef=graphdef):
            return jnp.sum(jnp.sin(nnx.merge(graphdef, p)(tokens())))

        return jax.jit(jax.grad(loss))(params), str(jax.make_jaxpr(loss)(params))

    (plain, program), (remat, remat_program) = (gradient(replace(TINY, remat=r)) for r in (False, True))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), remat, plain)
    assert "remat" in remat_program
    assert "remat" not in program


# Pairing


@pytest.mark.parametrize(
    ("shell", "kind"), [*((Classifier, k) for k in STENCILS), (Matcher, "heat"), (CausalLM, "adaptive")]
)
def test_a_variant_starts_from_the_weights_of_its_baseline(shell, kind):
    config = replace(TINY, positions="learned", stencil=STENCILS[kind])
    base = parameters(shell(config, nnx.Rngs(5)))
    variant = parameters(shell(replace(config, placements=PLACEMENTS), nnx.Rngs(5)))
    assert all("stencils" in name or "after_embedding" in name for name in variant.keys() - base.keys())
    for name, value in base.items():
        np.testing.assert_array_equal(variant[name], value, err_msg=name)


def test_a_variant_without_placements_is_its_baseline_whatever_the_stencil():
    base, variant = (
        Classifier(replace(TINY, stencil=s), nnx.Rngs(0)) for s in (StencilConfig(), STENCILS["gated"])
    )
    np.testing.assert_array_equal(call(base, tokens()), call(variant, tokens()))


def test_weights_depend_on_the_seed_and_the_layer_but_not_on_the_depth():
    two, three, other = (
        parameters(Classifier(replace(TINY, layers=n), nnx.Rngs(seed)))
        for n, seed in ((2, 0), (3, 0), (2, 1))
    )
    for name in ("blocks/attention/query/kernel", "blocks/ffn/up/kernel"):
        np.testing.assert_array_equal(two[name], three[name][:2])
        assert not np.any(two[name][0] == two[name][1])
        assert not np.any(two[name] == other[name])
    assert not np.any(two["blocks/attention/query/kernel"] == two["blocks/attention/key/kernel"])


def test_parameters_carry_the_names_and_the_layer_axis_that_sharding_reads():
    shapes = {name: x.shape for name, x in parameters(Classifier(EVERYWHERE, nnx.Rngs(0))).items()}
    for name in ("query", "key", "value", "out"):
        assert shapes[f"blocks/attention/{name}/kernel"] == (2, 8, 8)
    assert shapes["blocks/ffn/up/kernel"] == (2, 8, 12)
    assert shapes["blocks/ffn/down/kernel"] == (2, 12, 8)
    assert shapes["embed/tokens/embedding"] == (11, 8)
    assert shapes["head/kernel"] == (8, 3)


def test_published_sizes_are_reached():
    def count(config):
        return sum(
            x.size for x in parameters(nnx.eval_shape(lambda: Classifier(config, nnx.Rngs(0)))).values()
        )

    lra = ModelConfig(
        17, width=512, layers=4, heads=8, ffn=1024, max_len=2000, pooling="cls", positions="learned"
    )
    assert round(count(replace(lra, classifier_width=1024)) / 1e6, 1) == 10.0
    two_layer = ModelConfig(17, width=64, layers=2, heads=2, ffn=128, max_len=2000, positions="learned")
    assert 0.17e6 < count(two_layer) < 0.37e6


# Padding and packing


@pytest.mark.parametrize(("kind", "pooling"), [("gated", "mean"), ("adaptive", "cls")])
def test_padding_changes_no_logit(kind, pooling):
    config = replace(EVERYWHERE, stencil=STENCILS[kind], pooling=pooling)
    model = randomised(Classifier(config, nnx.Rngs(0)))
    expected = call(model, tokens(length=9))
    ids = jnp.pad(jnp.ones((2, 9), jnp.int32), ((0, 0), (0, 3)))
    right = jnp.concatenate([tokens(length=9), tokens(length=3, seed=1)], axis=1)
    np.testing.assert_allclose(call(model, right, ids), expected, rtol=0, atol=2e-5)
    if pooling == "mean":  # a CLS token has the padding between itself and the text: another neighbour
        left = jnp.concatenate([tokens(length=3, seed=1), tokens(length=9)], axis=1)
        np.testing.assert_allclose(call(model, left, ids[:, ::-1]), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_row_of_padding_is_finite_and_so_is_its_gradient(pooling):
    config = replace(TINY, placements=("before_norm",), pooling=pooling)
    graphdef, params = nnx.split(Classifier(config, nnx.Rngs(0)))
    ids = jnp.zeros((2, 12), jnp.int32).at[0, :5].set(1)

    def loss(p):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, p)(tokens(), ids)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert jnp.isfinite(value)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("kind", "shell"), [("gated", Classifier), ("adaptive", CausalLM)])
def test_packed_segments_read_as_they_do_alone(kind, shell):
    config = replace(EVERYWHERE, stencil=STENCILS[kind])
    model = randomised(shell(config, nnx.Rngs(0)))
    method = "__call__" if isinstance(model, CausalLM) else "hidden_states"
    packed = call(model, tokens(), PACKED, method=method)
    for start in (0, 5):
        alone = call(model, tokens()[:, start : start + 5], method=method)
        np.testing.assert_allclose(packed[:, start : start + 5], alone, rtol=0, atol=2e-5)


def test_rows_of_a_batch_do_not_meet():
    model = randomised(Classifier(replace(EVERYWHERE, stencil=STENCILS["gated"]), nnx.Rngs(0)))
    ids = jnp.asarray([[1] * 12, [1] * 7 + [0] * 5], jnp.int32)
    together = call(model, tokens(), ids)
    for row in range(2):
        alone = call(model, tokens()[row : row + 1], ids[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=0, atol=1e-5)


# Causality


@pytest.mark.parametrize(("kind", "norm"), [("heat", "pre"), ("multiscale", "post")])
@pytest.mark.codegen
def test_a_causal_model_reads_no_later_token_bit_for_bit(kind, norm):
    model = randomised(CausalLM(replace(EVERYWHERE, norm=norm, stencil=STENCILS[kind]), nnx.Rngs(0)))
    before = call(model, tokens())
    assert before.shape == (2, 12, 11)
    for t in (1, 6, 11):
        after = call(model, tokens().at[:, t:].set((tokens()[:, t:] + 1) % 11))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert jnp.all(jnp.any(after[:, t] != before[:, t], axis=-1))


def test_no_gradient_of_a_causal_model_reaches_a_later_token():
    graphdef, params = nnx.split(
        randomised(CausalLM(replace(EVERYWHERE, stencil=STENCILS["adaptive"]), nnx.Rngs(0)))
    )
    distinct = jnp.arange(11)[None]  # token j stands at place j alone, so row j of the table is its embedding

    def logits(params, t):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, params)(distinct)[:, t]))

    gradient = jax.jit(jax.grad(logits))
    for t in (0, 4, 9):
        rows = np.asarray(gradient(params, t).embed.tokens.embedding[...])
        np.testing.assert_array_equal(rows[t + 1 :], 0)
        assert np.all(np.any(rows[: t + 1] != 0, axis=1))


# Randomness and precision


def test_a_key_decides_the_dropout_and_none_means_none():
    config = replace(TINY, placements=("after_embedding",), dropout=0.3, attention_dropout=0.0)
    base = Classifier(replace(config, dropout=0.0), nnx.Rngs(0))
    key, other = jax.random.key(1), jax.random.key(2)
    expected = call(base, tokens(), key=key)
    for rates in ({}, {"dropout": 0.0, "attention_dropout": 0.3}):
        model = Classifier(replace(config, **rates), nnx.Rngs(0))
        dropped = call(model, tokens(), key=key)
        np.testing.assert_array_equal(call(model, tokens(), key=key), dropped)
        assert jnp.all(dropped != call(model, tokens(), key=other))
        assert jnp.all(dropped != expected)
        np.testing.assert_allclose(call(model, tokens()), expected, rtol=0, atol=1e-6)


def test_every_layer_draws_its_own_dropout():
    model = Classifier(replace(TINY, dropout=0.5, attention_dropout=0.0), nnx.Rngs(0))
    graphdef, params = nnx.split(model.blocks)
    first = jax.tree.map(lambda x: x[0], params)
    model.blocks = nnx.merge(graphdef, jax.tree.map(lambda x: jnp.stack([x, x]), first))
    single = jax.jit(lambda u, key: nnx.merge(graphdef, first)(u, key=key))
    u, key = jax.random.normal(jax.random.key(1), (1, 6, 8)), jax.random.key(0)
    keys = [jax.random.fold_in(named_key(key, "blocks"), layer) for layer in range(2)]
    scanned = jax.jit(lambda u, key: model._run_blocks(u, None, key))(u, key)
    np.testing.assert_allclose(scanned, single(single(u, keys[0]), keys[1]), rtol=0, atol=1e-5)
    assert not np.allclose(scanned, single(single(u, keys[0]), keys[0]), atol=0.1)


def test_dropout_keeps_the_mean():
    u = jnp.ones((100, 1000), jnp.bfloat16)
    dropped = dropout(u, 0.25, jax.random.key(0))
    assert dropped.dtype == u.dtype
    assert set(np.unique(np.asarray(dropped, np.float32))) == {0.0, np.float32(jnp.bfloat16(4 / 3))}
    # 0.25 ± 5 standard errors of 1e5 draws
    np.testing.assert_allclose(np.mean(np.asarray(dropped, np.float32) == 0), 0.25, rtol=0, atol=0.007)


def test_bfloat16_is_close_to_float32_and_leaves_parameters_and_logits_in_float32():
    config = replace(TINY, placements=("between_layers",))
    wide, narrow = (CausalLM(replace(config, dtype=d), nnx.Rngs(0)) for d in ("float32", "bfloat16"))
    assert {x.dtype for x in parameters(narrow).values()} == {jnp.dtype("float32")}
    logits, expected = call(narrow, tokens(), PACKED), call(wide, tokens(), PACKED)
    assert logits.dtype == jnp.float32
    assert call(narrow, tokens(), PACKED, method="hidden_states").dtype == jnp.bfloat16
    # eight bits of mantissa through two blocks
    assert 0 < jnp.linalg.norm(logits - expected) < 0.03 * jnp.linalg.norm(expected)
    assert call(Classifier(replace(config, dtype="bfloat16"), nnx.Rngs(0)), tokens()).dtype == jnp.float32


def test_a_model_under_jit_equals_the_eager_one_on_raw_bytes():
    model = Classifier(replace(TINY, placements=("after_embedding",)), nnx.Rngs(0))
    eager = model(np.asarray(tokens(), np.uint8), np.asarray(PACKED, np.uint8))
    np.testing.assert_allclose(call(model, tokens(), PACKED), eager, rtol=0, atol=1e-5)


# The shells


def test_a_matcher_reads_both_towers_with_the_same_weights():
    model = randomised(Matcher(replace(TINY, placements=("before_ffn",), dropout=0.5), nnx.Rngs(0)))
    a, b, ids, key = tokens(), tokens(length=7, seed=1), PACKED[:, :7], jax.random.key(0)
    assert parameters(model)["hidden/kernel"].shape == (4 * 8, 12)  # an MLP of the ffn width
    for keys in ((None, None), jax.random.split(key)):
        x = call(model, a, PACKED, key=keys[0], method="pooled")
        y = call(model, b, ids, key=keys[1], method="pooled")
        expected = model.classify(jnp.concatenate([x, y, x * y, x - y], axis=-1))
        logits = call(model, a, b, PACKED, ids, key=None if keys[0] is None else key)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_classifier_width_adds_one_hidden_layer():
    model = Classifier(replace(TINY, classifier_width=5, activation="relu"), nnx.Rngs(0))
    pooled = np.asarray(call(model, tokens(), method="pooled"))
    values = {name: np.asarray(x) for name, x in parameters(model).items()}
    hidden = np.maximum(pooled @ values["hidden/kernel"] + values["hidden/bias"], 0)
    expected = hidden @ values["head/kernel"]
    np.testing.assert_allclose(call(model, tokens()), expected, rtol=0, atol=1e-5)


def test_a_config_is_a_command_line():
    words = "--width 16 --placements after_embedding before_norm --stencil.kind adaptive --stencil.width 5"
    config = tyro.cli(ModelConfig, args=words.split())
    expected = ModelConfig(
        width=16, placements=("after_embedding", "before_norm"), stencil=StencilConfig("adaptive", width=5)
    )
    assert config == expected


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: replace(TINY, placements=("before_norms",)),
            "after_embedding, .*did you mean 'before_norm'",
        ),
        (lambda: replace(TINY, placements=("between_layers",) * 2), "each placement stands once"),
        (lambda: replace(TINY, width=9, positions="learned"), "width=9 and heads=2"),
        (lambda: replace(TINY, width=9, heads=3), "even width, got 9"),
        (lambda: replace(TINY, layers=0), "layers must be at least 1, got 0"),
        (lambda: replace(TINY, dropout=1.0), r"dropout is a rate in \[0, 1\), got 1.0"),
        (lambda: replace(TINY, norm="Pre"), "norm is one of pre, post, got 'Pre'"),
        (lambda: replace(TINY, dtype="float16"), "dtype is one of float32, bfloat16"),
        (
            lambda: replace(EVERYWHERE, stencil=StencilConfig(alpha=0.7)),
            "alpha <= 1/2 to be non-expansive, got 0.7",
        ),
        (lambda: CausalLM(replace(EVERYWHERE, stencil=STENCILS["gated"]), nnx.Rngs(0)), "gated=False"),
        (lambda: CausalLM(replace(TINY, pooling="cls"), nnx.Rngs(0)), "no CLS token, got pooling='cls'"),
    ],
)
def test_a_contradiction_is_refused_with_rule_value_and_remedy(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((tokens(length=17),), "at most max_len=16 tokens, got 17"),
        ((tokens() + 1,), "token ids lie in 0 … 10, got 1 … 11"),
        ((tokens(), PACKED[:, :5]), r"shape of tokens, \(2, 12\), got \(2, 5\)"),
        ((tokens()[0],), "tokens are integers"),
        ((tokens().astype(float),), "tokens are integers"),
    ],
)
def test_bad_input_is_refused(inputs, words, monkeypatch):
    model = Classifier(TINY, nnx.Rngs(0))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words):
        model(*inputs)


def test_packed_rows_have_no_single_cls_token():
    model = Classifier(replace(TINY, pooling="cls"), nnx.Rngs(0))
    with pytest.raises(ValueError, match="one segment per row, got packed rows"):
        model(tokens(), PACKED)
