"""Plain attention: the chunked form equals the softmax formula, needs O(T) memory and never reads padding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pdeformer.attention import dot_product_attention
from tests.pdeformer.attention.plain_attention import (
    FLOAT32,
    FLOAT64,
    chunked_attention,
    close,
    dense_mask,
    draw,
    jax_attention,
    numpy_attention,
    output_and_gradients,
)

PACKED = [[1, 1, 1, 2, 2, 2, 2, 0, 3, 3, 3, 1, 1], [4] * 6 + [0] * 7]
PADDED = [[0] * 4 + [1] * 9, [0] * 13]


def test_two_keys_by_hand():
    """The scores 0 and log 3 give the weights 1/4 and 3/4."""
    query = jnp.ones((1, 1, 1, 1))
    key = jnp.log(jnp.array([1.0, 3.0])).reshape(1, 2, 1, 1)
    value = jnp.array([4.0, 8.0]).reshape(1, 2, 1, 1)
    result = chunked_attention(query, key, value, scale=1.0)
    close(result.output.ravel(), [7.0], 1e-6)
    close(result.log_sum_exp.ravel(), [np.log(4.0)], 1e-6)


CASES = {
    "plain": {},
    "causal": {"offset": 0},
    "shifted": {"offset": -4},
    "ahead": {"offset": 3},
    "padded": {"segment_ids": PADDED},
    "packed": {"segment_ids": PACKED},
    "packed causal": {"segment_ids": PACKED, "offset": 0},
    "scaled": {"scale": 0.7},
}


@pytest.mark.parametrize("serial", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_output_and_log_sum_exp_equal_the_twin(case, serial):
    query, key, value, _ = draw()
    options = {"scale": 5**-0.5} | CASES[case]
    if "segment_ids" in options:
        options["segment_ids"] = jnp.array(options["segment_ids"])
    attend = jax.jit(partial(chunked_attention, chunk=8, serial=serial, **options))
    result = attend(query, key, value)
    output, lse = numpy_attention(query, key, value, **options)
    close(result.output, output, FLOAT32)
    close(result.log_sum_exp, lse, FLOAT32)


@pytest.mark.parametrize("serial", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_those_of_the_twin_in_float64(case, serial, x64):
    """The loss depends on the output and on the log-sum-exp, without the rows that have no key."""
    query, key, value, weight = draw(dtype=jnp.float64)
    options = {"scale": 5**-0.5} | CASES[case]
    ids = jnp.array(options.pop("segment_ids")) if "segment_ids" in options else None
    mask = dense_mask(query, key, ids, options.get("offset"))
    has_key = np.any(mask, axis=-1, keepdims=True)

    def chunked_loss(*qkv):
        result = chunked_attention(*qkv, segment_ids=ids, chunk=8, serial=serial, **options)
        lse = jnp.where(has_key, result.log_sum_exp, 0)
        return (result.output * weight).sum() + jnp.sin(lse).sum(), result.output

    def reference_loss(query, key, value):
        nonempty = mask | ~has_key
        output = jnp.where(
            has_key[..., None], jax_attention(query, key, value, nonempty, options["scale"]), 0
        )
        scores = jnp.einsum("btnh,bsnh->bnts", query, jnp.repeat(key, 2, axis=2)) * options["scale"]
        lse = jax.nn.logsumexp(jnp.where(nonempty[:, None], scores, -jnp.inf), axis=-1).swapaxes(1, 2)
        return (output * weight).sum() + jnp.sin(jnp.where(has_key, lse, 0)).sum(), output

    actual, output = jax.jit(jax.grad(chunked_loss, argnums=(0, 1, 2), has_aux=True))(query, key, value)
    expected, expected_output = jax.jit(jax.grad(reference_loss, argnums=(0, 1, 2), has_aux=True))(
        query, key, value
    )
    close(output, expected_output, FLOAT64)
    for a, b in zip(actual, expected, strict=True):
        close(a, b, FLOAT64)


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("offset", [-7, 0, 1])
def test_a_window_holds_every_key_its_rows_see(offset, segmented):
    """The windows have 8, 16, … 64 keys, so that a window that is too short or shifted misses a key."""
    query, key, value, weight = draw(64, batch=1, heads=1, kv_heads=1)
    ids = jnp.asarray(np.repeat([[2, 0, 1, 5]], [19, 3, 26, 16], axis=1), jnp.int32) if segmented else None
    options = {"segment_ids": ids, "offset": offset, "scale": 0.6}

    def attend(*qkv):
        return chunked_attention(*qkv, chunk=8, **options).output

    def attend_without_windows(*qkv):
        return chunked_attention(*qkv, chunk=64, serial=False, **options).output

    output, *gradients = output_and_gradients(attend, (query, key, value), weight)
    close(output, numpy_attention(query, key, value, **options)[0], FLOAT32)
    _, *expected = output_and_gradients(attend_without_windows, (query, key, value), weight)
    for a, b in zip(gradients, expected, strict=True):
        close(a, b, 1e-5)  # both are float32, but their chunks differ


@pytest.mark.parametrize("length", [1, 3, 257, 300])
def test_odd_lengths_with_their_gradients(length):
    query, key, value, weight = draw(length, batch=1, heads=2, kv_heads=1)
    mask = dense_mask(query, key, offset=0)
    attend = partial(dot_product_attention, is_causal=True, method="chunked")
    output, *gradients = output_and_gradients(attend, (query, key, value), weight)
    close(output, numpy_attention(query, key, value, offset=0)[0], FLOAT32)
    _, *expected = output_and_gradients(partial(jax_attention, mask=mask), (query, key, value), weight)
    for a, b in zip(gradients, expected, strict=True):
        close(a, b, 3e-5)  # dK of an early key sums up to 300 rows, and the reference is float32 too


@pytest.mark.parametrize("method", ["chunked", "xla"])
@pytest.mark.parametrize(("length", "keys"), [(3, 20), (1, 17), (20, 3)])
def test_causal_rows_align_bottom_right(length, keys, method):
    """The last query attends to every key; if there are more queries than keys, the first queries return 0."""
    query, key, value, _ = draw(length, keys)
    output = dot_product_attention(query, key, value, is_causal=True, method=method)
    close(output, numpy_attention(query, key, value, offset=keys - length)[0], FLOAT32)
    assert not np.any(output[:, : max(0, length - keys)])


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("shifted", "ahead")])
def test_chunked_equals_xla(case):
    options = dict(CASES[case])
    is_causal = options.pop("offset", None) == 0
    if "segment_ids" in options:
        options["segment_ids"] = jnp.array(options["segment_ids"])
    query, key, value, weight = draw()
    attend = partial(dot_product_attention, is_causal=is_causal, **options)
    chunked, xla = (
        output_and_gradients(partial(attend, method=m), (query, key, value), weight)
        for m in ("chunked", "xla")
    )
    for a, b in zip(chunked, xla, strict=True):
        close(a, b, 3e-5)


def test_auto_is_chunked_on_cpu():
    query, key, value, _ = draw()
    assert jnp.array_equal(
        dot_product_attention(query, key, value), dot_product_attention(query, key, value, method="chunked")
    )


@pytest.mark.codegen
def test_the_future_changes_nothing_bit_for_bit():
    query, key, value, _ = draw(64, batch=1)
    attend = jax.jit(lambda *qkv: chunked_attention(*qkv, scale=0.5, offset=0, chunk=16).output)
    before = attend(query, key, value)
    after = attend(*(x.at[:, 21:].set(1e3) for x in (query, key, value)))
    assert jnp.array_equal(before[:, :21], after[:, :21])
    assert not jnp.array_equal(before[:, 21:], after[:, 21:])


@pytest.mark.parametrize("method", ["chunked", "xla"])
def test_causal_gradients_of_the_future_are_exactly_zero(method):
    query, key, value, _ = draw(33)

    def early(*qkv):
        return dot_product_attention(*qkv, is_causal=True, method=method)[:, :10].sum()

    for gradient in jax.jit(jax.grad(early, argnums=(0, 1, 2)))(query, key, value):
        assert not np.any(gradient[:, 10:])
        assert np.all(np.any(gradient[:, 1:10], axis=(0, 2, 3)))  # the softmax of a single key is constant


@pytest.mark.parametrize("is_causal", [False, True])
def test_packed_segments_equal_separate_runs(is_causal):
    query, key, value, _ = draw(40, batch=1)
    ids = jnp.repeat(jnp.array([[3, 1, 0, 2]]), jnp.array([9, 14, 5, 12]), axis=1, total_repeat_length=40)
    packed = chunked_attention(
        query, key, value, scale=0.4, segment_ids=ids, offset=0 if is_causal else None, chunk=8
    ).output
    for first, last in ((0, 9), (9, 23), (28, 40)):
        segment = (x[:, first:last] for x in (query, key, value))
        alone = dot_product_attention(*segment, is_causal=is_causal, scale=0.4)
        close(packed[:, first:last], alone, FLOAT32)
    assert not np.any(packed[:, 23:28])


@pytest.mark.parametrize("method", ["chunked", "xla"])
def test_what_stands_in_padding_is_never_read(method):
    """NaN in padding reaches no output and no gradient, and the gradient of padding is exactly 0."""
    query, key, value, weight = draw()
    ids = jnp.array(PACKED)
    pad = (ids == 0)[:, :, None, None]
    attend = partial(dot_product_attention, segment_ids=ids, method=method)
    clean = output_and_gradients(attend, (query, key, value), weight)
    with_nan = output_and_gradients(
        attend, tuple(jnp.where(pad, jnp.nan, x) for x in (query, key, value)), weight
    )
    for a, b in zip(clean, with_nan, strict=True):
        assert jnp.array_equal(a, b)
        assert not np.any(np.where(pad, a, 0))


def test_two_halves_are_joined_by_their_log_sum_exp(x64):
    """The causal fold needs out = Σ exp(lse_i − lse) out_i, with its gradient."""
    query, key, value, weight = draw(dtype=jnp.float64)

    def join_halves(query, key, value):
        halves = [
            chunked_attention(query, key[:, i], value[:, i], scale=0.3) for i in (slice(7), slice(7, None))
        ]
        lse = jnp.logaddexp(halves[0].log_sum_exp, halves[1].log_sum_exp)
        return sum(jnp.exp(half.log_sum_exp - lse)[..., None] * half.output for half in halves)

    full = output_and_gradients(partial(dot_product_attention, scale=0.3), (query, key, value), weight)
    for a, b in zip(output_and_gradients(join_halves, (query, key, value), weight), full, strict=True):
        close(a, b, FLOAT64)


def test_large_scores_neither_overflow_nor_lose_their_maximum():
    query, key, value, weight = draw()
    output, *gradients = output_and_gradients(
        partial(dot_product_attention, scale=1e4), (query, key, value), weight
    )
    best = jnp.argmax(jnp.einsum("btnh,bsnh->bnts", query, jnp.repeat(key, 2, axis=2)), axis=-1).swapaxes(
        1, 2
    )
    selected = jnp.take_along_axis(jnp.repeat(value, 2, axis=2), best[..., None], axis=1)
    assert np.mean(np.abs(output - selected) < 1e-3) > 0.97
    assert all(np.all(np.isfinite(x)) for x in gradients)


def test_bfloat16_accumulates_in_float32():
    """Only the inputs and the final cast are rounded to 8 bits."""
    query, key, value, weight = draw(64, dtype=jnp.bfloat16)
    output, *gradients = output_and_gradients(dot_product_attention, (query, key, value), weight)
    assert output.dtype == jnp.bfloat16
    exact = numpy_attention(query, key, value)[0]
    close(output, exact, 2**-8)
    assert chunked_attention(query, key, value, scale=5**-0.5).output.dtype == jnp.float32
    close(chunked_attention(query, key, value, scale=5**-0.5).output, exact, FLOAT32)
    wide = tuple(x.astype(jnp.float32) for x in (query, key, value))
    _, *exact = output_and_gradients(dot_product_attention, wide, weight.astype(jnp.float32))
    for a, b in zip(gradients, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        close(a, b, 2**-8)


def test_jit_vmap_and_scan_change_nothing():
    query, key, value, weight = draw(batch=3)
    ids = jnp.array([*PACKED, [1] * 13])

    def attend_and_differentiate(query, key, value, ids, weight):
        output, pullback = jax.vjp(
            lambda *qkv: chunked_attention(*qkv, scale=0.4, segment_ids=ids, offset=0, chunk=8).output,
            query, key, value,
        )  # fmt: skip
        return output, *pullback(weight)

    arrays = query, key, value, ids, weight
    full = attend_and_differentiate(*arrays)
    examples = jax.tree.map(lambda x: x[:, None], arrays)
    vmapped = jax.vmap(attend_and_differentiate)(*examples)
    scanned = jax.lax.scan(lambda _, xs: (None, attend_and_differentiate(*xs)), None, examples)[1]
    versions = {
        "jit": jax.jit(attend_and_differentiate)(*arrays),
        "vmap": jax.tree.map(lambda x: x[:, 0], vmapped),
        "scan": jax.tree.map(lambda x: x[:, 0], scanned),
    }
    for name, version in versions.items():
        for a, b in zip(version, full, strict=True):
            np.testing.assert_allclose(a, b, rtol=FLOAT32, atol=FLOAT32, err_msg=name)


def test_sharded_over_the_batch_equals_unsharded():
    query, key, value, _ = draw(batch=8)
    ids = jnp.array(PACKED * 4)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    place = NamedSharding(mesh, PartitionSpec("data"))

    def loss(query, key, value, ids):
        return (dot_product_attention(query, key, value, segment_ids=ids, is_causal=True) ** 2).sum()

    step = jax.value_and_grad(loss, argnums=(0, 1, 2))
    full = jax.jit(step)(query, key, value, ids)
    sharded = jax.jit(step, in_shardings=place)(*jax.device_put((query, key, value, ids), place))
    for a, b in zip(jax.tree.leaves(sharded), jax.tree.leaves(full), strict=True):
        close(a, b, 1e-5)  # the loss sums 2000 squares in another order


@pytest.mark.parametrize("offset", [None, 0])
def test_second_derivatives_equal_the_twin_either_way(offset, x64):
    """Reverse over reverse and forward over reverse give the product of the Hessian and a vector."""
    query, key, value, vector = draw(5, batch=1, heads=2, kv_heads=2, width=3, dtype=jnp.float64)
    mask = dense_mask(query, key, offset=offset)

    def chunked_loss(query):
        return jnp.sin(chunked_attention(query, key, value, scale=0.6, offset=offset, chunk=3).output).sum()

    def reference_loss(query):
        return jnp.sin(jax_attention(query, key, value, mask, 0.6)).sum()

    def reverse(f):
        return jax.jit(jax.grad(lambda q: jnp.vdot(jax.grad(f)(q), vector)))(query)

    expected = reverse(reference_loss)
    close(reverse(chunked_loss), expected, FLOAT64)
    close(jax.jit(lambda q: jax.jvp(jax.grad(chunked_loss), (q,), (vector,))[1])(query), expected, FLOAT64)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("case", ["plain", "causal", "segments"])
@pytest.mark.codegen
def test_temporaries_are_a_tenth_of_the_materialised_form(case, backward):
    shape = jax.ShapeDtypeStruct((1, 2048, 4, 64), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, 2048), jnp.int32) if case == "segments" else None

    def temporaries(method):
        def attend(query, key, value, ids):
            return dot_product_attention(
                query, key, value, segment_ids=ids, is_causal=case == "causal", method=method
            )

        def run(query, key, value, weight, ids):
            output, pullback = jax.vjp(partial(attend, ids=ids), query, key, value)
            return (output, pullback(weight)) if backward else output

        analysis = jax.jit(run).lower(shape, shape, shape, shape, ids).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporaries("chunked") <= temporaries("xla") / 10


@pytest.mark.parametrize("case", ["causal", "segments"])
@pytest.mark.codegen
def test_the_gradient_of_a_loop_over_layers_stores_no_masks(case):
    shape = jax.ShapeDtypeStruct((1, 1024, 1, 8), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, 1024), jnp.int32)

    def temporaries(*, causal=False, with_segments=False):
        def loss(u, ids):
            def layer(u, _):
                ids_of_call = ids if with_segments else None
                return u + dot_product_attention(u, u, u, segment_ids=ids_of_call, is_causal=causal), None

            return jnp.sum(jax.lax.scan(layer, u, None, length=2)[0] ** 2)

        analysis = jax.jit(jax.grad(loss)).lower(shape, ids).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    one_mask = 4 * 1024 * 1024
    masked = temporaries(causal=case == "causal", with_segments=case == "segments")
    assert masked < temporaries() + one_mask / 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "xla", "dropout": 0.1, "dropout_key": jax.random.key(0)}, "'xla' has no dropout.*0.1.*'auto'"),
        ({"dropout": 1.0, "dropout_key": jax.random.key(0)}, r"\[0, 1\), got 1.0.*chance to drop"),
        ({"dropout": 0.1}, "needs a random key.*dropout=0.1.*pass dropout_key"),
        ({"segment_ids": jnp.ones((2, 13), jnp.int32)}, "T = S.*T=13, S=11.*key_segment_ids"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(change, words):
    query, key, value, _ = draw(13, 11)
    with pytest.raises(ValueError, match=words):
        dot_product_attention(query, key, value, **change)


def test_heads_that_do_not_fit_are_refused():
    query, key, value, _ = draw(heads=3)
    with pytest.raises(ValueError, match="multiple of the number of key heads, got 3 and 2; repeat"):
        dot_product_attention(query, key, value)


def test_shapes_and_methods_that_do_not_fit_are_refused():
    query, key, value, _ = draw()
    with pytest.raises(ValueError, match=r"got \(2, 13, 4, 5\), .*one batch and one head width"):
        dot_product_attention(query, key[..., :3], value[..., :3])
