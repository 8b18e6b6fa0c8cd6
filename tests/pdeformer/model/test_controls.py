"""Controls in the place of diffusion and attention: their definitions in NumPy, sizes, walls, causality, refusals."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import POSITIONS_ONLY, CausalLM, Classifier, ModelConfig
from pdeformer.model.positions import rotate
from pdeformer.simulator import SimulatorConfig, simulate, weights_of
from pdeformer.train import decay_mask
from tests.pdeformer.model.numpy_transformer import (
    PACKED,
    TINY,
    NumpyTransformer,
    call,
    parameters,
    randomized,
    tokens,
)

LEARNED_HEAT = StencilConfig("heat", learned=True)
CONTROLS: dict[str, dict[str, Any]] = {
    "rotary": {"positions": "rotary"},
    "windowed, alibi": {"mixer": "windowed", "window": 3, "positions": "alibi"},
    "performer": {"mixer": "performer", "positions": "rotary"},
    "lru": {"mixer": "lru", "positions": "none"},
    "positions only": {"placements": (POSITIONS_ONLY,), "stencil": LEARNED_HEAT, "positions": "learned"},
}


def build(name, shell: Any = Classifier, **changes):
    return randomized(shell(replace(TINY, **CONTROLS[name] | changes), nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in CONTROLS),
        ("rotary", {"pooling": "cls", "mixer": "windowed", "window": 2}),
        ("positions only", {"pooling": "cls", "positions": "sinusoidal"}),
    ],
)
def test_a_control_is_what_its_docstring_says(name, changes):
    model = build(name, **changes)
    # float32 against float64, through two blocks with LayerNorm
    np.testing.assert_allclose(call(model, tokens()), NumpyTransformer(model)(tokens()), rtol=0, atol=1e-4)


def test_rotary_scores_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 2, 6)), jnp.float32) for _ in range(2))

    @jax.jit
    def score(t, s):
        return jnp.sum(rotate(query, t[None, None]) * rotate(key, s[None, None]), axis=-1)

    np.testing.assert_allclose(score(*jnp.array([17, 12])), score(*jnp.array([105, 100])), rtol=0, atol=1e-4)
    assert np.all(np.abs(score(*jnp.array([17, 12])) - score(*jnp.array([17, 13]))) > 1e-3)
    by_hand = rotate(jnp.asarray([[[[1.0, 0.0]]]]), jnp.asarray([[2]]))
    np.testing.assert_allclose(by_hand[0, 0, 0], [np.cos(2), np.sin(2)], rtol=1e-6)


@pytest.mark.parametrize("name", CONTROLS)
def test_packed_segments_read_as_they_do_alone_and_no_later_token(name):
    model = build(name, CausalLM)
    packed = call(model, tokens(), PACKED)
    for start in (0, 5):
        alone = call(model, tokens()[:, start : start + 5])
        np.testing.assert_allclose(packed[:, start : start + 5], alone, rtol=0, atol=2e-5)
    for t in (3, 8):
        after = call(model, tokens().at[:, t:].set((tokens()[:, t:] + 1) % 11), PACKED)
        np.testing.assert_array_equal(after[:, :t], packed[:, :t])
        assert jnp.all(jnp.any(after[:, t] != packed[:, t], axis=-1))


@pytest.mark.parametrize("shell", [Classifier, pytest.param(CausalLM, marks=pytest.mark.exhaustive)])
def test_random_features_read_no_padding_where_they_take_linear_time(shell):
    """Rows of one segment take the linear form, and packed rows the tiles of the test above."""
    model, ids = build("performer", shell), jnp.asarray([[0, 0] + [3] * 8 + [0, 0], [1] * 12], jnp.int32)
    method = "__call__" if isinstance(model, CausalLM) else "hidden_states"
    out = call(model, tokens(), ids, method=method)
    alone = call(model, tokens()[:1, 2:10], method=method)
    np.testing.assert_allclose(out[0, 2:10], alone[0], rtol=0, atol=2e-5)


def test_dropout_of_a_control_is_finite_and_drawn_from_its_key():
    model = build("windowed, alibi", dropout=0.2, attention_dropout=0.2)
    out = call(model, tokens(), PACKED, key=jax.random.key(0))
    assert np.isfinite(out).all()
    assert not np.any(out == call(model, tokens(), PACKED, key=jax.random.key(1)))
    for name in ("performer", "lru"):  # they have no weights to drop, and no error either
        model = build(name, attention_dropout=0.2)
        np.testing.assert_allclose(
            call(model, tokens(), key=jax.random.key(0)), call(model, tokens()), rtol=0, atol=1e-5
        )


# Sizes and initial weights

TWO_LAYER = ModelConfig(17, head_width=32, ffn=128, classifier_width=128, max_len=2000)
SAME_SIZE: dict[str, dict[str, Any]] = {
    "diffusion": {"placements": ("after_embedding", "before_ffn"), "stencil": StencilConfig("adaptive")},
    "positions only": {"placements": (POSITIONS_ONLY, "before_ffn"), "stencil": StencilConfig("adaptive")},
    "free": {
        "placements": ("after_embedding", "before_ffn"),
        "stencil": StencilConfig("adaptive", free=True),
    },
    "canon": {"placements": ("after_embedding", "before_ffn"), "stencil": StencilConfig("canon")},
    "shift": {"placements": ("after_embedding", "before_ffn"), "stencil": StencilConfig("shift")},
    "windowed": {"mixer": "windowed", "window": 8},
    "performer": {"mixer": "performer"},
    "lru": {"mixer": "lru"},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "none": {"positions": "none"},
}


def abstract(config, shell: Any = Classifier):
    return parameters(nnx.eval_shape(lambda: shell(config, nnx.Rngs(0))))


def count(config, shell: Any = Classifier):
    return sum(x.size for x in abstract(config, shell).values())


@pytest.mark.parametrize("name", SAME_SIZE)
def test_matched_variants_have_as_many_parameters_to_one_percent(name):
    baseline = count(replace(TWO_LAYER, **SAME_SIZE["diffusion"]))
    assert abs(count(replace(TWO_LAYER, **SAME_SIZE[name])) / baseline - 1) < 0.01
    if name == "lru":
        causal = [count(replace(TWO_LAYER, mixer=m), CausalLM) for m in ("attention", "lru")]
        assert abs(causal[1] / causal[0] - 1) < 0.01
        assert count(replace(TWO_LAYER, mixer="lru", states=4)) < 0.8 * baseline


def test_smoothing_of_positions_has_the_parameters_of_the_layer_after_the_embedding():
    stencil = StencilConfig("adaptive", width=5)
    shapes = [
        {
            name.replace(place, ""): x.shape
            for name, x in abstract(replace(TINY, placements=(place,), stencil=stencil)).items()
        }
        for place in ("after_embedding", POSITIONS_ONLY)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["positions only", "canon", "shift", "lru", "rotary", "alibi"])
def test_a_control_starts_from_the_weights_of_its_baseline(name):
    config = replace(TINY, layers=1)
    base = parameters(Classifier(config, nnx.Rngs(5)))
    control = parameters(Classifier(replace(config, **SAME_SIZE[name]), nnx.Rngs(5)))
    missing = {path for path in base if path not in control}
    assert missing == {path for path in base if "/attention/" in path and name == "lru"}
    for path in base.keys() - missing:
        np.testing.assert_array_equal(control[path], base[path], err_msg=path)


def test_canon_starts_as_the_baseline_itself():
    config = replace(TINY, placements=("before_attention", "after_embedding"), stencil=StencilConfig("canon"))
    base, canon = (Classifier(c, nnx.Rngs(0)) for c in (TINY, config))
    np.testing.assert_allclose(call(canon, tokens()), call(base, tokens()), rtol=0, atol=1e-6)


def test_weights_of_controls_do_not_decay():
    config = replace(TINY, placements=(POSITIONS_ONLY,), stencil=StencilConfig("adaptive", free=True))
    for change in ({}, {"mixer": "lru", "stencil": StencilConfig("canon"), "placements": ("before_ffn",)}):
        model = nnx.eval_shape(lambda change=change: Classifier(replace(config, **change), nnx.Rngs(0)))
        decays = jax.tree_util.tree_leaves_with_path(decay_mask(nnx.to_pure_dict(nnx.state(model))))
        names = {jax.tree_util.keystr(path, simple=True, separator="/") for path, value in decays if value}
        assert not {n for n in names if "recurrence" in n or "stencil" in n or POSITIONS_ONLY in n}
        assert "blocks/ffn/up/kernel" in names


def test_the_simulator_runs_the_blocks_of_a_rotary_model():
    model = build("rotary")
    u = jax.random.normal(jax.random.key(0), (2, 12, 8))
    config = SimulatorConfig(layers=2, width=8, heads=2, ffn=12, norm="pre")
    run = simulate(u, weights_of(model.blocks), config, segment_ids=PACKED)
    valid = (PACKED > 0)[..., None]
    np.testing.assert_allclose(run.u * valid, model.run_blocks(u, PACKED, None) * valid, rtol=0, atol=1e-5)
    for name in ("lru", "windowed, alibi", "performer"):
        with pytest.raises(ValueError, match="use mixer='attention'"):
            weights_of(build(name).blocks)


# Refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mixer": "windowed"}, "needs the largest distance of two tokens, got window=None; set window=64"),
        ({"window": 4}, "window belongs to mixer 'windowed', got window=4 with mixer 'attention'"),
        ({"mixer": "windowed", "window": -1}, "window must be an integer of at least 0, got -1"),
        ({"features": 8}, "features belongs to mixer 'performer'"),
        ({"states": 8}, "states belongs to mixer 'lru'"),
        ({"mixer": "lru", "states": 0}, "states must be an integer of at least 1, got 0"),
        ({"mixer": "s5"}, "mixer is one of attention, windowed, performer, lru, got 's5'"),
        ({"mixer": "lru", "positions": "rotary"}, "act on queries and keys, which mixer 'lru' does not form"),
        ({"mixer": "performer", "positions": "alibi"}, "act on scores, which mixer 'performer' does not"),
        ({"positions": "rotary", "head_width": 3}, "need an even head width, got 3"),
        ({"positions": "alibi", "attention": PDEAttentionConfig("wave")}, "no bias of the scores"),
        ({"mixer": "lru", "attention": PDEAttentionConfig("wave")}, "got mixer 'lru' with kind 'wave'"),
        ({"positions": "rotary", "placements": (POSITIONS_ONLY,)}, "smooths a code that is added"),
        ({"placements": ("position_only",)}, "did you mean 'positions_only'"),
        ({"stencil": StencilConfig("shift", alpha=0.6), "placements": ("before_ffn",)}, "alpha <= 1/2"),
    ],
)
def test_a_contradiction_is_refused_with_rule_value_and_remedy(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **changes)


def test_a_control_without_a_causal_form_or_a_cache_is_refused():
    both_ways = StencilConfig("shift", bidirectional=True)
    with pytest.raises(ValueError, match="has no causal form"):
        CausalLM(replace(TINY, placements=("before_ffn",), stencil=both_ways), nnx.Rngs(0))
    for name in ("lru", "windowed, alibi"):
        with pytest.raises(ValueError, match=r"decoding needs .*; call the model on whole sequences"):
            build(name, CausalLM).init_cache(2)
    for options in ({"kind": "canon", "alpha": 0.1}, {"kind": "heat", "bidirectional": True}):
        with pytest.raises(ValueError, match="drop it or"):
            StencilConfig(**options)
