"""Arguments at the door: empty arrays, dtypes, segment ids, two names of one option; the same in all functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, attention, evolve, init_cache
from pdeformer.stencil.arguments import convert_segment_ids

pde_attention: Any = attention.pde_attention
RNG = np.random.default_rng(0)
PDE = Diffusion(0.2)


def draw(*shape, dtype=jnp.float32):
    return jnp.asarray(RNG.normal(size=shape), dtype)


def plain(q, k, v, **options):
    return attention.dot_product_attention(q, k, v, **options)


def evolved(q, k, v, **options):
    return pde_attention(q, k, v, PDE, steps=2, **options)


def folded(q, k, v, **options):
    return evolved(q, k, v, method="folded", **options)


def weights(q, k, v, **options):
    return attention.pde_attention_weights(q, k, PDE, steps=2, **options)


def decode(q, k, v, segment_ids=None):
    cache = init_cache(max(q.shape[0], 1), 8, 2, 3, segments=segment_ids is not None)
    return attention.pde_attention_decode(q, k, v, cache, PDE, steps=2, segment_ids=segment_ids)[0]


ATTENTION = [plain, evolved, folded, weights, decode]
EMPTY = {
    "no query": ((2, 0, 2, 3), (2, 4, 2, 3)),
    "no key": ((2, 4, 2, 3), (2, 0, 2, 3)),
    "no token": ((2, 0, 2, 3), (2, 0, 2, 3)),
    "no example": ((0, 4, 2, 3), (0, 4, 2, 3)),
    "no head": ((2, 4, 0, 3), (2, 4, 0, 3)),
    "no width": ((2, 4, 2, 0), (2, 4, 2, 0)),
}


@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("attend", [plain, evolved, folded])
def test_an_empty_axis_gives_zeros_of_the_right_shape(attend, case):
    query, key = (draw(*shape, dtype=jnp.bfloat16) for shape in EMPTY[case])
    for options in ({}, {"is_causal": True}, {"scale": 0.5}):
        output = attend(query, key, key, **options)
        assert output.shape == query.shape
        assert output.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.asarray(output, np.float32), 0)
    gradient = jax.grad(lambda q: jnp.sum(attend(q, key, key)))(query)
    np.testing.assert_array_equal(np.asarray(gradient, np.float32), np.zeros(query.shape))


@pytest.mark.parametrize("case", EMPTY)
def test_the_weights_of_an_empty_axis_are_empty_or_uniform(case):
    query, key = (draw(*shape) for shape in EMPTY[case])
    matrix = weights(query, key, key)
    assert matrix.shape == (*query.shape[:1], query.shape[2], query.shape[1], key.shape[1])
    if case == "no width":
        np.testing.assert_allclose(matrix, 0.25, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3), (2, 4, 0)])
def test_an_empty_state_stays_empty(shape):
    u = jnp.zeros(shape)
    for name, value in (
        ("segment_ids", np.ones(shape[:2], int)),
        ("causal", True),
        ("method", "scan"),
        ("steps", 2),
    ):
        options: Any = {"steps": 2, name: value}
        assert evolve(u, PDE, **options).shape == shape
        assert PDE.step(u).shape == shape
    assert jax.grad(lambda u: jnp.sum(evolve(u, PDE, steps=2)))(u).shape == shape


def test_no_new_token_leaves_the_cache_as_it_is():
    cache = init_cache(2, 8, 2, 3)
    none = jnp.zeros((2, 0, 2, 3))
    output, after = attention.pde_attention_decode(none, none, none, cache, PDE, steps=2)
    assert output.shape == none.shape
    assert int(after.length) == 0


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64, bool])
@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("attend", ATTENTION)
def test_numbers_that_are_not_real_and_floating_are_refused(attend, which, dtype):
    arrays = [draw(1, 4, 2, 3) for _ in range(3)]
    arrays[which] = jnp.ones((1, 4, 2, 3), dtype)
    if attend is weights and which == 2:
        return
    name = ("query", "key", "value")[which]
    with pytest.raises(ValueError, match=f"needs real floating numbers, got {name} of dtype .*; convert it"):
        attend(*arrays)


@pytest.mark.parametrize("attend", [plain, evolved])
def test_arrays_of_another_rank_are_refused_with_the_shapes(attend):
    with pytest.raises(ValueError, match=r"needs query \(B, T, N, H\).*got \(4, 2, 3\)"):
        attend(*[draw(4, 2, 3)] * 3)
    with pytest.raises(ValueError, match="multiple of the number of key heads, got 2 and 0"):
        attend(draw(1, 4, 2, 3), *[jnp.zeros((1, 4, 0, 3))] * 2)


def by_evolve(q, k, v, segment_ids):
    return evolve(q.reshape(*q.shape[:2], -1), PDE, steps=2, segment_ids=segment_ids)


BY_IDS = [*ATTENTION, by_evolve]


@pytest.mark.parametrize("attend", BY_IDS)
def test_ids_are_one_in_every_form(attend):
    """Booleans, lists, NumPy of any width and arrays of JAX."""
    arrays = [draw(2, 4, 2, 3) for _ in range(3)]
    ids = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    expected = attend(*arrays, segment_ids=jnp.asarray(ids, jnp.int32))
    for form in (
        ids,
        ids > 0,
        jnp.asarray(ids > 0),
        ids.tolist(),
        ids.astype(np.uint8),
        ids.astype(np.uint64),
    ):
        np.testing.assert_array_equal(attend(*arrays, segment_ids=form), expected)


@pytest.mark.parametrize("attend", BY_IDS)
def test_ids_that_would_wrap_are_refused(attend):
    arrays = [draw(1, 2, 2, 3) for _ in range(3)]
    for ids in ([[2**31, 2**32]], [[-(2**31) - 1, 1]]):
        for form in (ids, np.array(ids)):
            with pytest.raises(ValueError, match="must fit int32, got values from .*renumber them"):
                attend(*arrays, segment_ids=form)
    with pytest.raises(ValueError, match="must fit int32"):
        attend(*arrays, segment_ids=np.array([[1, 2**32 - 1]], np.uint32))
    with pytest.raises(ValueError, match="must be integers or booleans, got dtype float"):
        attend(*arrays, segment_ids=np.ones((1, 2)))


def test_wide_ids_stay_apart_with_x64(x64):
    assert convert_segment_ids(np.array([2**31, 2**32])).tolist() == [2**31, 2**32]


def test_keys_without_their_own_ids_are_refused_with_the_way_around():
    query, key = draw(2, 3, 2, 3), draw(2, 5, 2, 3)
    for attend in (plain, evolved, weights):
        with pytest.raises(ValueError, match="needs T = S .*key_segment_ids"):
            attend(query, key, key, segment_ids=np.ones((2, 3), int))
        with pytest.raises(ValueError, match=r"key_segment_ids needs the shape \(B, S\), got \(2, 4\)"):
            attend(query, key, key, key_segment_ids=np.ones((2, 4), bool))
    with pytest.raises(ValueError, match="other queries than keys .* use axis='key'"):
        evolved(key, key, key, key_segment_ids=np.ones((2, 5), bool), axis="query")


@pytest.mark.parametrize("attend", [plain, evolved, weights, by_evolve])
def test_causal_and_is_causal_are_one_option(attend):
    arrays = [draw(1, 4, 2, 3) for _ in range(3)]

    def call(**options):
        if attend is by_evolve:
            return evolve(arrays[0][0, :, 0], PDE, steps=2, **options)
        return attend(*arrays, **options)

    expected = call(causal=True)
    assert not np.array_equal(expected, call())
    np.testing.assert_array_equal(call(is_causal=True), expected)
    np.testing.assert_array_equal(call(is_causal=True, causal=True), expected)
    contradiction = {"causal": attend is by_evolve, "is_causal": attend is not by_evolve}
    with pytest.raises(ValueError, match="two names of one option, got"):
        call(**contradiction)
