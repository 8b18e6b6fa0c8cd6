"""A language model decodes: a prompt, chunks and single tokens give the logits of one call."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from pdeformer import PLACEMENTS, CausalLM, ModelConfig, PDEAttention
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model.lm_cache import decode_tokens
from tests.helpers.sampling import sample

TOKENS = np.random.default_rng(0).integers(0, 16, (3, 18))
LENGTHS = (5, 9, 1)
ALL, SOME = {"placements": PLACEMENTS}, {"placements": ("before_norm", "after_embedding"), "norm": "post"}
MODELS = {
    "plain": {},
    "learned positions, wave": {"positions": "learned", "attention": PDEAttentionConfig("wave", steps=3)},
    "advection": {"attention": PDEAttentionConfig("advection-diffusion", steps=3)},
    "reaction": {"attention": PDEAttentionConfig("reaction-diffusion", steps=2)},
    "heat": {**ALL, "stencil": StencilConfig("heat", steps=3, learned=True)},
    "input adaptive": {**SOME, "stencil": StencilConfig("adaptive", width=7, input_adaptive=True)},
    "multiscale": {**ALL, "stencil": StencilConfig("multiscale")},
}
CONTROLS = {
    "rotary, canon": {
        **{"positions": "rotary", "stencil": StencilConfig("canon")},
        "placements": ("after_embedding", "before_ffn", "in_attention", "in_ffn"),
    },
    "window, shift of positions": {
        **{"mixer": "windowed", "window": 3, "stencil": StencilConfig("shift")},
        "placements": ("positions_only", "after_attention"),
    },
}
PERFORMER = {"performer": {"mixer": "performer", "positions": "none"}}


compiled_decode: Any = decode_tokens


def build(**options):
    config = ModelConfig(vocabulary=16, width=8, layers=2, ffn=8, max_len=24, **options)
    model = CausalLM(config, rngs=nnx.Rngs(0))
    noise = jax.random.key(1)  # so that no parameter is at a special value
    nnx.update(model, jax.tree.map(lambda x: x + 0.3 * jax.random.normal(noise, x.shape), nnx.state(model)))
    return model


@pytest.mark.parametrize("name", [*MODELS, *CONTROLS, *PERFORMER])
def test_prompt_and_tokens_in_a_scan_equal_the_whole_pass(name):
    model = build(**(MODELS | CONTROLS | PERFORMER)[name])
    full = jax.jit(lambda model, tokens: model(tokens))(model, TOKENS)
    first, cache = model.decode(TOKENS[:, :7], model.init_cache(3))

    def step(cache, token):
        logits, cache = model.decode(token, cache)
        return cache, logits

    scan = jax.jit(lambda cache, tokens: jax.lax.scan(step, cache, tokens), donate_argnums=0)
    cache, later = scan(cache, jnp.asarray(TOKENS[:, 7:].T))
    np.testing.assert_allclose(np.concatenate([first, np.moveaxis(later, 0, 1)], 1), full, rtol=0, atol=1e-5)
    assert int(cache.length) == 18


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *sample(itertools.product(MODELS, [(12,), (7, 5)]), every=4, first=1),
        *sample(((name, (7, 5)) for name in CONTROLS), every=2),
    ],
)
def test_prompts_of_unequal_length_continue_as_each_alone(name, sizes):
    model = build(**(MODELS | CONTROLS)[name])
    ids = (np.arange(18)[None] < np.array(LENGTHS)[:, None]).astype(int)
    ids[:, 12:] = 1
    cache, outputs, start = model.init_cache(3, segments=True), [], 0
    for size in (*sizes, 3, 3):
        part = slice(start, start + size)
        logits, cache = model.decode(TOKENS[:, part], cache, ids[:, part])
        outputs.append(logits)
        start += size
    output = np.concatenate(outputs, axis=1)
    assert np.asarray(cache.row_lengths).tolist() == [length + 6 for length in LENGTHS]
    for row in range(3):
        alone = TOKENS[row : row + 1, ids[row] > 0]
        np.testing.assert_allclose(output[row, ids[row] > 0], model(alone)[0], rtol=0, atol=1e-5)


def test_packed_segments_and_left_padding_keep_their_positions():
    model = build(placements=("before_ffn",), positions="learned")
    ids = np.array([[0, 0, 1, 1, 1, 1, 2, 2], [3, 3, 3, 3, 0, 3, 3, 3], [1, 1, 1, 1, 1, 1, 1, 1]])
    full = model(TOKENS[:, :8], ids)
    cache = model.init_cache(3, 8, segments=True)
    first, cache = model.decode(TOKENS[:, :6], cache, ids[:, :6])
    later, cache = model.decode(TOKENS[:, 6:8], cache, ids[:, 6:])
    output = np.concatenate([first, later], axis=1)
    np.testing.assert_allclose(output[ids > 0], np.asarray(full)[ids > 0], rtol=0, atol=1e-5)


def test_decoding_outside_jit_compiles_once():
    model = build()
    cache, sizes = model.init_cache(3), []
    for i in range(4):
        _, cache = model.decode(TOKENS[:, i], cache)
        sizes.append(compiled_decode._cache_size())
    assert len(set(sizes)) == 1


def test_bad_calls_are_refused():
    model = build()
    cache = model.init_cache(3, 4)
    with pytest.raises(ValueError, match="3 rows and needs tokens"):
        model.decode(TOKENS[:2], cache)
    with pytest.raises(ValueError, match="4 places, 0 of them taken, got 5 new tokens"):
        model.decode(TOKENS[:, :5], cache)
    with pytest.raises(ValueError, match="remembers no segments"):
        model.decode(TOKENS[:, :2], cache, np.ones((3, 2), int))
    with pytest.raises(ValueError, match="shape of tokens"):
        model.decode(TOKENS[:, :2], model.init_cache(3, segments=True), np.ones((3, 3), int))
    with pytest.raises(ValueError, match="0 … 15, got .* 16"):
        model.decode(np.full(3, 16), cache)
    with pytest.raises(ValueError, match="at most max_len=24 tokens, got a cache of 25"):
        model.init_cache(3, 25)
    step = jax.jit(lambda tokens, cache: model.decode(tokens, cache))
    _, cache = step(TOKENS[:, :4], cache)
    assert np.isnan(step(TOKENS[:, 0], cache)[0]).all()


@pytest.mark.parametrize("segments", [False, True])
def test_an_empty_cache_can_be_donated(segments):
    model, layer = build(**ALL), PDEAttention(2)
    lm_step: Any = jax.jit(lambda cache: model.decode(TOKENS[:, :2], cache)[1], donate_argnums=0)
    layer_step: Any = jax.jit(lambda cache, x: layer.decode(x, x, x, cache)[1], donate_argnums=0)
    assert int(lm_step(model.init_cache(3, segments=segments)).length) == 2
    cache = layer.init_cache(1, 8, 2, 4, segments=segments)
    assert int(layer_step(cache, jnp.ones((1, 2, 2, 4))).length) == 2
    assert cache.key.is_deleted()
    assert cache.value.is_deleted()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_ids_of_any_dtype_are_served(dtype):
    model, valid = build(), (np.arange(5)[None] < np.array([[5], [3], [1]])).astype(dtype)
    expected, _ = model.decode(TOKENS[:, :5], model.init_cache(3, segments=True), valid.astype(np.int32))
    for ids in (valid, valid.tolist()):
        logits, cache = model.decode(TOKENS[:, :5], model.init_cache(3, segments=True), ids)
        np.testing.assert_array_equal(logits, expected)
        assert np.asarray(cache.row_lengths).tolist() == [5, 3, 1]


def test_lists_of_tokens_are_served(monkeypatch):
    # otherwise the run-time type checker of the tests would refuse the list first
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model: Any = build()
    logits, _ = model.decode(TOKENS[:, :4].tolist(), model.init_cache(3))
    np.testing.assert_allclose(model(TOKENS[:, :4].tolist()), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("segments", "name"), [(False, "heat"), (True, "window, shift of positions")])
def test_chosen_rows_of_a_cache_continue_as_if_they_had_been_decoded(segments, name):
    """The beams that go on, and one prompt for several continuations."""
    model, rows = build(**(MODELS | CONTROLS)[name]), [2, 0, 2, 1]
    ids = np.array([[1] * 5, [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]) if segments else None
    cache = model.decode(TOKENS[:, :5], model.init_cache(3, segments=segments), ids)[1]
    expected = model.decode(TOKENS[:, 5], cache)[0][np.array(rows)]
    picked = jax.jit(lambda cache, rows: cache.take(rows))(cache, jnp.asarray(rows))
    logits, after = model.decode(TOKENS[rows, 5], picked)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert int(after.length) == 6
    if segments:
        assert int(cache.take([1, 2]).length) == 3
    for bad in ([3], [-1], [[0]]):
        with pytest.raises(ValueError, match="rows are a list of integers in 0 … 2, got .*choose"):
            cache.take(bad)
    with pytest.raises(ValueError, match="rows must be integers"):
        cache.take([0.5])
