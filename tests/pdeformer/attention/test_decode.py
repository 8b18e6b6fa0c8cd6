"""Decoding token by token, in chunks or in one call gives the rows of causal attention."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, attention
from pdeformer.attention import init_cache, step_budget
from tests.helpers.sampling import sample

# the tests pass options as dictionaries, which a type checker cannot match with keywords
pde_attention: Any = attention.pde_attention
pde_attention_decode: Any = attention.pde_attention_decode

LENGTH = 40
IDS = np.array([[1] * 10 + [0] * 3 + [1] * 20 + [2] * 7, [0] * 4 + [3] * 36])
PDES = {
    "diffusion": Diffusion(0.3),
    "wave": Wave(np.array([0.3, 0.5, 0.6, 0.7])),
    "advection": AdvectionDiffusion(0.1, 0.3),
    "reaction": ReactionDiffusion(0.2, 0.4),
    "plain": None,
}


def draw(dtype=jnp.float64):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(2, LENGTH, heads, 4)), dtype) for heads in (4, 2, 2))


def decode_tokens(arrays, cache, pde, ids=None, **options):
    """Decode token by token in a compiled scan."""

    def step(cache, xs):
        token, token_ids = xs
        segment_ids = None if token_ids is None else token_ids[:, None]
        output, cache = pde_attention_decode(
            *(x[:, None] for x in token), cache, pde, steps=3, segment_ids=segment_ids, **options
        )
        return cache, output[:, 0]

    xs = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (arrays, None if ids is None else jnp.asarray(ids)))
    cache, outputs = jax.jit(lambda cache, xs: jax.lax.scan(step, cache, xs))(cache, xs)
    return jnp.moveaxis(outputs, 0, 1), cache


@pytest.mark.parametrize("ids", [None, IDS], ids=["one segment", "segments"])
@pytest.mark.parametrize("name", list(PDES))
def test_prefill_and_tokens_equal_the_whole_pass(name, ids, x64):
    """A prompt of 24 tokens uses the fold if there is one; then 16 tokens are decoded one at a time, as rows."""
    arrays, pde = draw(), PDES[name]
    full = jax.jit(partial(pde_attention, pde=pde, steps=3, is_causal=True))(*arrays, segment_ids=ids)
    cache = init_cache(2, 44, 2, 4, jnp.float64, segments=ids is not None)
    prefill = jax.jit(partial(pde_attention_decode, pde=pde, steps=3))
    first, cache = prefill(
        *(x[:, :24] for x in arrays), cache, segment_ids=None if ids is None else ids[:, :24]
    )
    later, cache = decode_tokens(
        tuple(x[:, 24:] for x in arrays), cache, pde, None if ids is None else ids[:, 24:]
    )
    np.testing.assert_allclose(jnp.concatenate([first, later], 1), full, rtol=1e-11, atol=1e-11)
    assert int(cache.length) == LENGTH


@pytest.mark.parametrize("method", ["folded", "tiled", "materialized"])
def test_chunked_prefill_equals_the_whole_pass(method):
    arrays, pde = draw(jnp.float32), PDES["diffusion"]
    full = jax.jit(partial(pde_attention, pde=pde, steps=3, is_causal=True, window=9))(*arrays)
    cache, outputs, start = init_cache(2, LENGTH, 2, 4), [], 0
    program: Any = jax.jit(partial(pde_attention_decode, pde=pde, steps=3, window=9, method=method))
    for size in (20, 10, 10):
        output, cache = program(*(x[:, start : start + size] for x in arrays), cache)
        outputs.append(output)
        start += size
    np.testing.assert_allclose(jnp.concatenate(outputs, 1), full, rtol=3e-5, atol=3e-5)
    assert program._cache_size() == 2  # one program for each size of a chunk


def test_performer_decodes_too(x64):
    arrays, pde = draw(), PDES["diffusion"]
    options = dict(base="performer", features=8, feature_key=jax.random.key(1))
    full = jax.jit(partial(pde_attention, pde=pde, steps=3, is_causal=True, **options))(*arrays)
    cache = init_cache(2, LENGTH, 2, 4, jnp.float64)
    np.testing.assert_allclose(decode_tokens(arrays, cache, pde, **options)[0], full, rtol=1e-11, atol=1e-11)


LENGTHS = [5, 9, 1, 12]  # prompts of unequal length, padded on the right to 12 tokens
CALLS = {
    **{name: (pde, {}) for name, pde in PDES.items()},
    "window": (PDES["diffusion"], {"window": 3}),
    "fold": (PDES["advection"], {"method": "folded"}),
    "reaction first": (PDES["reaction"], {"order": "reaction_first"}),
    "performer": (PDES["diffusion"], {"base": "performer", "features": 8, "feature_key": jax.random.key(1)}),
}


@pytest.mark.parametrize(("name", "sizes"), sample(itertools.product(CALLS, [(12,), (7, 5)]), every=3))
def test_right_padded_prompts_continue_as_each_alone(name, sizes):
    pde, options = CALLS[name]
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=(4, 16, heads, 4)), jnp.float32) for heads in (4, 2, 2)]
    ids = (np.arange(16)[None] < np.array(LENGTHS)[:, None]).astype(int)
    ids[:, 12:] = 1
    # NaN in the padding, which is never read
    arrays = [jnp.where(ids[..., None, None] > 0, x, jnp.nan) for x in arrays]
    decode = jax.jit(partial(pde_attention_decode, pde=pde, steps=3, **options))
    cache, outputs, start = init_cache(4, 20, 2, 4, segments=True), [], 0
    for size in (*sizes, 1, 1, 2):
        part = slice(start, start + size)
        output, cache = decode(*(x[:, part] for x in arrays), cache, segment_ids=ids[:, part])
        outputs.append(output)
        start += size
    output = np.concatenate(outputs, axis=1)
    assert np.asarray(cache.row_lengths).tolist() == [length + 4 for length in LENGTHS]
    assert int(cache.length) == 16
    definition = options if "order" in options else {**options, "method": "materialized"}
    for row in range(4):
        alone = [x[row : row + 1, ids[row] > 0] for x in arrays]
        expected = pde_attention(*alone, pde, steps=3, is_causal=True, **definition)
        np.testing.assert_allclose(output[row, ids[row] > 0], expected[0], rtol=0, atol=1e-5)


def test_a_row_without_new_tokens_keeps_its_length_and_an_overflow_is_that_of_its_row():
    query, key, value = (x[:, :2] for x in draw(jnp.float32))
    ids = np.array([[1, 1], [0, 0]])
    cache = init_cache(2, 3, 2, 4, segments=True)
    decode = jax.jit(partial(pde_attention_decode, pde=None, steps=0))
    _, cache = decode(query, key, value, cache, segment_ids=ids)
    assert np.asarray(cache.row_lengths).tolist() == [2, 0]
    with pytest.raises(ValueError, match="3 places, 2 of them taken, got 2 new tokens"):
        pde_attention_decode(query, key, value, cache, None, steps=0)
    output, _ = decode(query, key, value, cache)
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


def test_a_full_cache_is_refused_or_poisons_the_output():
    token = tuple(x[:, :3] for x in draw(jnp.float32))
    cache = init_cache(2, 4, 2, 4)
    _, cache = pde_attention_decode(*token, cache, None, steps=0)
    with pytest.raises(
        ValueError, match="4 places, 3 of them taken, got 3 new tokens; make it with a larger"
    ):
        pde_attention_decode(*token, cache, None, steps=0)
    output, _ = jax.jit(partial(pde_attention_decode, pde=None, steps=0))(*token, cache)
    assert np.all(np.isnan(output))


def test_bad_calls_are_refused():
    query, key, value = (x[:, :3] for x in draw(jnp.float32))
    cache = init_cache(2, 8, 2, 4)
    ids = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="remembers no segments"):
        pde_attention_decode(query, key, value, cache, None, steps=0, segment_ids=ids)
    with pytest.raises(ValueError, match=r"needs the shape \(B, T\)"):
        pde_attention_decode(
            query, key, value, init_cache(2, 8, 2, 4, segments=True), None, steps=0, segment_ids=ids[:, :2]
        )
    with pytest.raises(ValueError, match="one batch, number of heads and width"):
        pde_attention_decode(query, key, value, init_cache(1, 8, 2, 4), None, steps=0)
    with pytest.raises(ValueError, match="sizes .* >= 1"):
        init_cache(2, 0, 2, 4)
    with pytest.raises(ValueError, match=r"alpha \* dt <= 1/2"):
        pde_attention_decode(query, key, value, cache, Diffusion(0.7), steps=1)


def test_the_step_budget_by_hand():
    assert [step_budget(n) for n in (0, 1, 9999)] == [4, 4, 4]
    linear = partial(step_budget, policy="linear")
    assert [linear(n) for n in (1, 2047, 4096, 6143, 99999)] == [1, 1, 2, 2, 8]
    assert [step_budget(n, policy="log2") for n in (0, 1, 2, 3, 4, 1000, 4096)] == [1, 1, 1, 1, 2, 8, 8]
    assert step_budget(1000, policy="log2", max_steps=20) == 9
    assert [step_budget(n, min_length=10) for n in (9, 10)] == [0, 4]
    assert step_budget(5, steps=9, max_steps=3) == 3
    with pytest.raises(ValueError, match="policy must be one of fixed, linear, log2, got 'sqrt'"):
        step_budget(5, policy="sqrt")
    with pytest.raises(ValueError, match="scale >= 1"):
        step_budget(5, scale=0)
