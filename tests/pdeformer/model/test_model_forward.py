"""Models equal a forward pass in NumPy: hooks, positions, stacked blocks, pairing of variants."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer.attention import dot_product_attention
from pdeformer.layers import HeatLayer, StencilConfig
from pdeformer.model import PLACEMENTS, CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.model.block import Block
from pdeformer.model.positions import positions_in_segment, sinusoids
from tests.pdeformer.model.numpy_transformer import (
    EVERYWHERE,
    PACKED,
    STENCILS,
    TINY,
    NumpyTransformer,
    call,
    parameters,
    randomized,
    tokens,
)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_every_hook_acts_at_its_place(norm):
    config = replace(EVERYWHERE, norm=norm, stencil=StencilConfig("heat", learned=True))
    graphdef, params = nnx.split(randomized(Classifier(config, nnx.Rngs(0))))

    def keep_only(path, x, place):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jnp.full_like(x, -100.0) if "rate" in name and place not in name else x  # α = 0, no diffusion

    alone = [
        jax.tree_util.tree_map_with_path(partial(keep_only, place=place), params) for place in PLACEMENTS
    ]
    none = jax.tree_util.tree_map_with_path(partial(keep_only, place="nowhere"), params)
    expected = []
    for variant in (*alone, params, none):
        model = nnx.merge(graphdef, variant)
        expected.append(NumpyTransformer(model)(tokens()))
        # float32 against float64, through two blocks with LayerNorm
        np.testing.assert_allclose(call(model, tokens()), expected[-1], rtol=0, atol=1e-4)
    # the places are distinct: any two outputs differ by at least a hundred times that tolerance
    distance = np.abs(np.stack(expected)[:, None] - np.stack(expected)[None]).max(axis=(2, 3))
    assert (distance + np.eye(len(expected))).min() > 0.01


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
    model = randomized(Classifier(replace(TINY, **change), nnx.Rngs(0)))
    # float32 against float64, through two blocks with LayerNorm
    np.testing.assert_allclose(call(model, tokens()), NumpyTransformer(model)(tokens()), rtol=0, atol=1e-4)


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
    model = randomized(Classifier(replace(EVERYWHERE, layers=3, stencil=STENCILS["adaptive"]), nnx.Rngs(0)))
    graphdef, params = nnx.split(model.blocks)
    single = jax.jit(lambda layer, u: nnx.merge(graphdef, layer)(u, PACKED))
    u = start = jax.random.normal(jax.random.key(1), (2, 12, 8))
    for layer in range(3):
        u = single(jax.tree.map(lambda x: x[layer], params), u)  # noqa: B023  used in this iteration only
    out = jax.jit(lambda u: model.run_blocks(u, PACKED, None))(start)
    np.testing.assert_allclose(out, u, rtol=0, atol=1e-5)


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
