"""Evolved attention: every method is the NumPy definition, values and gradients; rows are causal; the laws hold."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, attention
from pdeformer.attention import options as attention_options
from tests.helpers import oracle

# the options come as dictionaries, which a type checker cannot match with keywords
dot_product_attention: Any = attention.dot_product_attention
pde_attention: Any = attention.pde_attention
pde_attention_weights: Any = attention.pde_attention_weights

FLOAT32, FLOAT64 = 3e-5, 1e-11
PACKED = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 3, 3, 1, 1], [1] * 4 + [0] * 2 + [1] * 5 + [0] * 3])
PDES = {
    "diffusion": Diffusion(0.3),
    "wave": Wave(0.7),
    "advection": AdvectionDiffusion(0.2, 0.4),
    "back": AdvectionDiffusion(0.1, -0.6),
    "reaction": ReactionDiffusion(0.3, 0.8),
    "sharpen": ReactionDiffusion(0.2, -0.25),
    "allen_cahn": ReactionDiffusion(0.25, 0.6, "allen_cahn"),
}
LINEAR = ("diffusion", "wave", "advection", "back")
KIND = {"back": "advection", "sharpen": "reaction", "allen_cahn": "reaction"}


def draw(length=14, keys=None, batch=2, heads=2, kv_heads=2, width=5, dtype=jnp.float64, seed=0):
    shapes = (length, heads), (keys or length, kv_heads), (keys or length, kv_heads), (length, heads)
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(1.5 * rng.normal(size=(batch, t, n, width)), dtype) for t, n in shapes)


def expected_weights(arrays, name, pde, steps, heads, dt: Any = 1.0, *, renormalize=None, **options: Any):
    values = {
        k: np.broadcast_to(np.asarray(v, np.float64) * dt, (steps, heads))
        for k, v in pde.coefficients().items()
    }
    coefficients = [[{k: v[i, n] for k, v in values.items()} for i in range(steps)] for n in range(heads)]
    kind = KIND.get(name, name)
    if renormalize is None:
        renormalize = kind == "reaction" and options.get("target", "weights") == "weights"
    reaction = getattr(pde, "reaction", "fisher")
    return oracle.attention_weights(
        arrays[0], arrays[1], kind, coefficients, renormalize=renormalize, reaction=reaction, **options
    )


def apply(weights, value):
    value = np.repeat(np.asarray(value, np.float64), weights.shape[1] // value.shape[2], axis=2)
    return np.einsum("bnts,bsnh->btnh", weights, value)


def close(actual, expected, tolerance):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=tolerance, atol=tolerance)


def combinations():
    """Every combination with a meaning: (equation, target, axis, causal, segments, window, order)."""
    for name, pde in PDES.items():
        reacts = isinstance(pde, ReactionDiffusion)
        for target in ("weights", "logits"):
            if target == "logits" and reacts and name != "allen_cahn":
                continue
            for axis in ("key",) if reacts else ("key", "query", "both"):
                for causal in (False, True) if (target, axis) == ("weights", "key") else (False,):
                    for segments in (False, True):
                        for window in (None, 3):
                            for order in ("strang", "euler", "reaction_first") if reacts else ("strang",):
                                yield name, target, axis, causal, segments, window, order


def shape(combination):
    """All of a combination but its segments and its window."""
    name, target, axis, causal, _, _, order = combination
    return name, target, axis, causal, order


COMBINATIONS = list(combinations())
SAMPLE = [  # every equation x target x axis x causal x order, with segments and windows in turn
    found[i % len(found)]
    for i, (_, group) in enumerate(itertools.groupby(sorted(COMBINATIONS, key=shape), key=shape))
    for found in [list(group)]
]


@partial(
    jax.jit, static_argnames=("method", "steps", "target", "axis", "is_causal", "window", "order", "base")
)
def pulled(arrays, pde, weight, segment_ids=None, feature_key=None, **options):
    """The output of one method, and the gradients of <weight, output> in query, key, value and coefficients."""
    features = None if feature_key is None else 6

    def run(query, key, value, pde):
        return pde_attention(
            query,
            key,
            value,
            pde,
            segment_ids=segment_ids,
            features=features,
            feature_key=feature_key,
            **options,
        )

    output, pull = jax.vjp(run, *arrays, pde)
    return output, pull(weight)


def prove(name, target, axis, causal, segments, window, order, *, dtype, tolerance):
    """Outputs of every method equal the matrices of NumPy, gradients those of the materialised definition."""
    *arrays, weight = draw(dtype=dtype)
    pde, steps = PDES[name], 1 if order == "euler" else 3
    options = dict(target=target, axis=axis, is_causal=causal, window=window, order=order)
    ids = PACKED if segments else None
    expected = apply(expected_weights(arrays, name, pde, steps, 2, segment_ids=ids, **options), arrays[2])
    asked = attention_options.Options(steps=steps, target=target, axis=axis, order=order)
    methods = attention_options.methods(pde, asked)
    *fast, (output, gradients) = (
        pulled(arrays, pde, weight, ids, steps=steps, method=method, **options) for method in methods
    )
    close(output, expected, tolerance)
    for output, found in fast:
        close(output, expected, tolerance)
        jax.tree.map(lambda a, b: close(a, b, tolerance), found, gradients)


CASES = ("name", "target", "axis", "causal", "segments", "window", "order")


@pytest.mark.parametrize(CASES, SAMPLE)
def test_every_method_is_the_definition(name, target, axis, causal, segments, window, order, x64):
    prove(name, target, axis, causal, segments, window, order, dtype=jnp.float64, tolerance=FLOAT64)


@pytest.mark.parametrize(CASES, SAMPLE[::4])
def test_every_method_is_the_definition_in_float32(name, target, axis, causal, segments, window, order):
    prove(name, target, axis, causal, segments, window, order, dtype=jnp.float32, tolerance=FLOAT32)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(CASES, COMBINATIONS)
def test_every_combination_is_the_definition(name, target, axis, causal, segments, window, order):
    prove(name, target, axis, causal, segments, window, order, dtype=jnp.float32, tolerance=FLOAT32)
    with jax.enable_x64(new_val=True):
        prove(name, target, axis, causal, segments, window, order, dtype=jnp.float64, tolerance=FLOAT64)


def outside():
    found = {(name, target, axis, causal) for name, target, axis, causal, *_ in COMBINATIONS}
    every = itertools.product(PDES, ("weights", "logits"), ("key", "query", "both"), (False, True))
    return sorted(set(every) - found)


@pytest.mark.parametrize(("name", "target", "axis", "causal"), outside())
def test_a_combination_with_no_meaning_says_what_to_use_instead(name, target, axis, causal):
    query, key, value, _ = draw(dtype=jnp.float32)
    with pytest.raises(ValueError, match=r"got .*; use "):
        pde_attention(query, key, value, PDES[name], steps=2, target=target, axis=axis, is_causal=causal)


@pytest.mark.parametrize(
    ("name", "keys"), [("diffusion", 9), ("wave", 19), ("advection", 19), ("reaction", 9)]
)
def test_grouped_heads_with_a_coefficient_per_step_and_head(name, keys, x64):
    """Four query heads on two key heads; T differs from S in causal rows, which align bottom-right."""
    *arrays, weight = draw(keys=keys, heads=4)
    rng = np.random.default_rng(3)
    pde = jax.tree.map(lambda c: jnp.asarray(c * rng.uniform(0.3, 1, (3, 4))), PDES[name])
    expected = apply(expected_weights(arrays, name, pde, 3, 4, is_causal=True), arrays[2])
    options = dict(steps=3, is_causal=True, target="weights", axis="key")
    asked = attention_options.Options(steps=3, target="weights", axis="key")
    methods = attention_options.methods(pde, asked)
    *fast, (output, gradients) = (pulled(arrays, pde, weight, method=method, **options) for method in methods)
    close(output, expected, FLOAT64)
    for output, found in fast:
        close(output, expected, FLOAT64)
        jax.tree.map(lambda a, b: close(a, b, FLOAT64), found, gradients)


@pytest.mark.parametrize("name", ["diffusion", "reaction"])
def test_time_steps_scale_the_coefficients(name, x64):
    *arrays, _ = draw()
    output = pde_attention(*arrays, PDES[name], steps=2, dt=0.4)
    close(output, apply(expected_weights(arrays, name, PDES[name], 2, 2, dt=0.4), arrays[2]), FLOAT64)


LONG = dict(
    length=150, batch=1, heads=2, kv_heads=1, width=4
)  # several chunks of every kind, the last one partial


@pytest.mark.parametrize(
    ("name", "steps", "keys"), [("diffusion", 1, 150), ("advection", 5, 171), ("diffusion", 40, 131)]
)
def test_the_causal_fold_at_the_seams_of_its_chunks(name, steps, keys):
    *arrays, weight = draw(keys=keys, dtype=jnp.float32, **LONG)
    options = dict(steps=steps, is_causal=True)
    output, gradients = pulled(arrays, PDES[name], weight, method="folded", **options)
    expected, exact = pulled(arrays, PDES[name], weight, method="materialized", **options)
    close(output, expected, FLOAT32)
    jax.tree.map(lambda a, b: close(a, b, 5 * FLOAT32), gradients, exact)  # sums over 150 rows


CAUSAL = [(name, "folded") for name in ("diffusion", "wave", "advection")] + [("reaction", "tiled")]


@pytest.mark.parametrize(("name", "method"), CAUSAL)
@pytest.mark.parametrize("base", ["softmax", "performer"])
@pytest.mark.codegen
def test_no_output_depends_on_a_later_token_bit_for_bit(name, method, base):
    *arrays, _ = draw(dtype=jnp.float32, **LONG)
    others = draw(dtype=jnp.float32, seed=9, **LONG)
    random = jax.random.key(4) if base == "performer" else None
    options = dict(steps=3, is_causal=True, method=method, base=base, feature_key=random)
    zero = jnp.zeros_like(arrays[0])
    whole = pulled(arrays, PDES[name], zero, **options)[0]
    for t in (0, 1, 63, 64, 100):
        changed = [
            jnp.concatenate([x[:, : t + 1], y[:, t + 1 :]], 1) for x, y in zip(arrays, others, strict=False)
        ]
        output, gradients = pulled(changed, PDES[name], zero.at[:, t].set(1.0), **options)
        np.testing.assert_array_equal(output[:, : t + 1], whole[:, : t + 1])
        for gradient in gradients[:3]:
            assert np.all(np.asarray(gradient)[:, t + 1 :] == 0)
            assert np.any(np.asarray(gradient)[:, : t + 1] != 0) or t == 0


@pytest.mark.parametrize(("name", "options"), [
    ("diffusion", dict(is_causal=True)),
    ("wave", dict(target="logits", axis="both")),
    ("advection", dict(axis="query")),
    ("reaction", dict(is_causal=True)),
    ("reaction", dict(order="reaction_first")),
])  # fmt: skip
def test_gradients_are_finite_differences(name, options, x64):
    *arrays, weight = draw(length=9, batch=1)
    rng = np.random.default_rng(5)
    point = (*arrays, jax.tree.map(jnp.asarray, PDES[name]))
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=np.shape(x))), point)
    loss = jax.jit(lambda *a: (pde_attention(*a, steps=3, **options) * weight).sum())
    slope = sum(
        (g * d).sum()
        for g, d in zip(
            jax.tree.leaves(jax.grad(loss, (0, 1, 2, 3))(*point)), jax.tree.leaves(direction), strict=True
        )
    )

    def moved(h):
        return loss(*jax.tree.map(lambda x, d: x + h * d, point, direction))

    close(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, 1e-6)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["wave", "reaction"])
def test_performer_methods_are_its_definition(name, causal, segments, x64):
    *arrays, weight = draw(heads=4)
    options = dict(steps=3, is_causal=causal, base="performer", feature_key=jax.random.key(0))
    ids = PACKED if segments else None
    methods = attention_options.methods(
        PDES[name], attention_options.Options(steps=3, target="weights", axis="key", base="performer")
    )
    *fast, (expected, exact) = (
        pulled(arrays, PDES[name], weight, ids, method=method, **options) for method in methods
    )
    for output, gradients in fast:
        close(output, expected, FLOAT64)
        jax.tree.map(lambda a, b: close(a, b, FLOAT64), gradients, exact)


def test_performer_tends_to_softmax_with_many_features():
    query, key, value, _ = draw(dtype=jnp.float32)
    options = dict(pde=PDES["diffusion"], steps=2, scale=0.1)
    exact = pde_attention(query, key, value, **options)
    few, many = (
        pde_attention(
            query, key, value, base="performer", features=f, feature_key=jax.random.key(0), **options
        )
        for f in (16, 4096)
    )
    assert abs(many - exact).mean() < 0.02 < abs(few - exact).mean()


@pytest.mark.parametrize(
    "options", [dict(), dict(is_causal=True), dict(target="logits"), dict(axis="both")], ids=str
)
def test_dropout_is_the_same_mask_for_every_method(options, x64):
    query, key, value, _ = draw(heads=4)
    pde = Diffusion(jnp.array([0.1, 0.2, 0.3, 0.4]))
    rate = dict(dropout=0.3, dropout_key=jax.random.key(2), steps=2, **options)
    folded, definition = (
        pde_attention(query, key, value, pde, method=m, **rate) for m in ("folded", "materialized")
    )
    close(folded, definition, FLOAT64)
    assert not np.allclose(folded, pde_attention(query, key, value, pde, steps=2, **options))


@pytest.mark.parametrize("options", [dict(pde=None, steps=3), dict(pde=Diffusion(0.3), steps=0)], ids=str)
@pytest.mark.codegen
def test_without_steps_it_is_exactly_plain_attention(options):
    query, key, value, _ = draw(dtype=jnp.float32)
    for plain in (dict(is_causal=True), dict(segment_ids=jnp.asarray(PACKED)), dict(window=2)):
        evolved = pde_attention(query, key, value, **options, **plain)
        np.testing.assert_allclose(
            evolved, dot_product_attention(query, key, value, **plain), rtol=2e-6, atol=2e-6
        )


def test_a_window_is_a_band_of_the_matrix():
    query, key, value, _ = draw(keys=17, dtype=jnp.float32)
    band = pde_attention_weights(query, key, None, steps=0, window=2)
    t, s = np.arange(14)[:, None], np.arange(17)[None, :]
    assert np.all((np.asarray(band) > 0) == (abs(t + 3 - s) <= 2))
    for causal in (False, True):
        weights = pde_attention_weights(query, key, None, steps=0, window=2, is_causal=causal)
        expected = apply(np.asarray(weights), value)
        for method in ("chunked", "xla"):
            output = dot_product_attention(query, key, value, window=2, is_causal=causal, method=method)
            close(output, expected, FLOAT32)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", list(PDES))
def test_rows_stay_distributions(name, causal, x64):
    """Sums stay 1; but for the wave, entries stay in [0, max of the row]; a fisher reaction flattens them."""
    query, key, _, _ = draw()
    before = pde_attention_weights(query, key, None, steps=0, is_causal=causal, segment_ids=PACKED)
    after = pde_attention_weights(query, key, PDES[name], steps=4, is_causal=causal, segment_ids=PACKED)
    valid = np.broadcast_to((PACKED > 0)[:, None], after.shape[:3])
    close(after.sum(-1), valid, FLOAT64)
    if name == "wave":
        assert after.min() < -1e-3
    elif name in ("diffusion", "reaction"):
        assert np.all(after >= 0)
        assert np.all(after.max(-1) <= before.max(-1) + 1e-12)
    if causal:
        assert np.all(np.triu(after, 1) == 0)


def test_a_causal_row_by_hand():
    """Uniform scores: row t is 1/(t+1) on 0 … t, which a wall behind t leaves as it is; without it mass would leak."""
    flat = jnp.zeros((1, 4, 1, 2))
    weights = pde_attention_weights(flat, flat, Diffusion(0.25), steps=3, is_causal=True)[0, 0]
    close(weights, np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None], FLOAT32)


def test_advection_moves_weight_to_earlier_keys():
    query, key, _, _ = draw(dtype=jnp.float32)
    place = jnp.arange(14.0)
    mean = [
        (pde_attention_weights(query, key, AdvectionDiffusion(0.0, beta), steps=2) @ place).mean()
        for beta in (0.5, 0.0, -0.5)
    ]
    assert mean[0] < mean[1] < mean[2]


def test_short_floats_are_computed_in_float32_and_rounded_once():
    *arrays, _ = draw(dtype=jnp.bfloat16)
    for options in (dict(), dict(is_causal=True)):
        output = pde_attention(*arrays, PDES["diffusion"], steps=3, **options)
        exact = pde_attention(*(x.astype(jnp.float32) for x in arrays), PDES["diffusion"], steps=3, **options)
        assert output.dtype == jnp.bfloat16
        np.testing.assert_array_equal(output, exact.astype(jnp.bfloat16))


def test_padding_is_never_read(x64):
    query, key, value, weight = (jnp.where(PACKED[..., None, None] > 0, x, jnp.nan) for x in draw())
    weight = jnp.nan_to_num(weight)
    output, gradients = pulled(
        (query, key, value), PDES["diffusion"], weight, PACKED, steps=2, is_causal=True
    )
    assert np.all(np.isfinite(output))
    assert np.all(np.asarray(output)[PACKED == 0] == 0)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradients))


@pytest.mark.parametrize("causal", [False, True])
def test_the_fold_holds_no_matrix(causal):
    """4 heads of 64 at T = 8192: a matrix alone would be 1 GiB, the temporaries stay under 128 MiB."""
    shape = jax.ShapeDtypeStruct((1, 8192, 4, 64), jnp.float32)
    program: Any = jax.jit(partial(pde_attention, pde=Diffusion(0.1), steps=4, is_causal=causal))
    assert program.lower(shape, shape, shape).compile().memory_analysis().temp_size_in_bytes < 128 * 2**20


def test_new_coefficients_do_not_compile_again():
    *arrays, _ = draw(dtype=jnp.float32)
    program: Any = jax.jit(lambda alpha: pde_attention(*arrays, Diffusion(alpha), steps=2))
    for alpha in (0.1, 0.2):
        program(alpha)
    assert program._cache_size() == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(pde=Diffusion(0.6)), r"alpha \* dt <= 1/2 to be stable, got 1.2"),
        (dict(pde=Diffusion(np.full(3, 0.1))), r"\(2,\), or per step and head, \(2, 2\), got shape \(3,\)"),
        (dict(pde="diffusion"), "pde must be Diffusion"),
        (dict(steps=-1), "steps must be a Python integer >= 0"),
        (dict(target="values"), "target must be one of weights, logits, got 'values'"),
        (dict(axis="keys"), "axis must be one of key, query, both"),
        (dict(base="linear"), "base must be one of softmax, performer"),
        (dict(method="flash"), "method must be one of auto, materialized, folded, tiled"),
        (dict(order="lie"), "order must be one of"),
        (dict(order="euler"), "order is about a reaction"),
        (dict(window=-1), "window must be a Python integer >= 0"),
        (dict(renormalize="l2"), "renormalize must be one of"),
        (dict(features=8), "belong to base 'performer'"),
        (dict(base="performer"), "needs features >= 1 and feature_key"),
        (dict(segment_ids=np.ones((2, 13), int)), "segment_ids needs T = S"),
        (
            dict(pde=ReactionDiffusion(0.1, 0.1), method="folded"),
            "does not serve ReactionDiffusion.*use 'tiled'",
        ),
        (dict(axis="query", method="tiled"), "does not serve Diffusion.*use 'folded' or 'materialized'"),
        (dict(pde=ReactionDiffusion(0.1, 0.1, "logistic")), "reaction must be one of fisher, allen_cahn"),
    ],
)
def test_bad_calls_are_refused(change, words):
    query, key, value, _ = draw(dtype=jnp.float32)
    with pytest.raises(ValueError, match=words):
        pde_attention(query, key, value, **{"pde": Diffusion(0.1), "steps": 2, **change})


def test_performer_refusals():
    query, key, value, _ = draw(dtype=jnp.float32)
    performer = dict(base="performer", features=8, feature_key=jax.random.key(0), steps=2)
    for change, words in (
        (dict(target="logits"), "forms no logits"),
        (dict(window=3), "window is a band of the softmax"),
        (dict(dropout=0.1, dropout_key=jax.random.key(1)), "dropout acts on softmax weights"),
    ):
        with pytest.raises(ValueError, match=words):
            pde_attention(query, key, value, Diffusion(0.1), **performer, **change)
    with pytest.raises(ValueError, match="other queries than keys .* use axis='key'"):
        pde_attention(query[:, :5], key, value, Diffusion(0.1), steps=2, axis="query")
    with pytest.raises(ValueError, match="the weights are materialized"):
        pde_attention_weights(query, key, Diffusion(0.1), steps=2, method="folded")
