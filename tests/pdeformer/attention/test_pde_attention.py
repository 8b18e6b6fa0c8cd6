"""Evolved attention: methods equal the NumPy definition, with gradients; causal rows read no later token."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion
from pdeformer.attention.options import AttentionOptions, exact_methods
from tests.helpers.sampling import sample
from tests.pdeformer.attention.evolved_attention import (
    FLOAT32,
    FLOAT64,
    PACKED,
    PDES,
    apply,
    close,
    combinations,
    draw,
    expected_weights,
    output_and_gradients,
    pde_attention,
)


def shape(combination):
    """Return a combination without its segments and its window."""
    name, target, axis, causal, _, _, order = combination
    return name, target, axis, causal, order


COMBINATIONS = list(combinations())
SAMPLE = [  # every equation x target x axis x causal x order, with segments and windows in turn
    members[i % len(members)]
    for i, (_, group) in enumerate(itertools.groupby(sorted(COMBINATIONS, key=shape), key=shape))
    for members in [list(group)]
]


def check_methods(name, target, axis, causal, segments, window, order, *, dtype, tolerance):
    """Check every method: outputs against NumPy, gradients against the materialized definition."""
    *arrays, weight = draw(dtype=dtype)
    pde, steps = PDES[name], 1 if order == "euler" else 3
    options = dict(target=target, axis=axis, is_causal=causal, window=window, order=order)
    ids = PACKED if segments else None
    expected = apply(expected_weights(arrays, name, pde, steps, 2, segment_ids=ids, **options), arrays[2])
    methods = exact_methods(pde, AttentionOptions(steps=steps, target=target, axis=axis, order=order))
    *fast, (output, gradients) = (
        output_and_gradients(arrays, pde, weight, ids, steps=steps, method=method, **options)
        for method in methods
    )
    close(output, expected, tolerance)
    for output, actual in fast:
        close(output, expected, tolerance)
        jax.tree.map(lambda a, b: close(a, b, tolerance), actual, gradients)


CASES = ("name", "target", "axis", "causal", "segments", "window", "order")


@pytest.mark.parametrize(CASES, sample(SAMPLE, every=2))
def test_every_method_is_the_definition(name, target, axis, causal, segments, window, order, x64):
    check_methods(name, target, axis, causal, segments, window, order, dtype=jnp.float64, tolerance=FLOAT64)


@pytest.mark.parametrize(CASES, sample(SAMPLE[::4], every=2))
def test_every_method_is_the_definition_in_float32(name, target, axis, causal, segments, window, order):
    check_methods(name, target, axis, causal, segments, window, order, dtype=jnp.float32, tolerance=FLOAT32)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(CASES, COMBINATIONS)
def test_every_combination_is_the_definition(name, target, axis, causal, segments, window, order):
    check_methods(name, target, axis, causal, segments, window, order, dtype=jnp.float32, tolerance=FLOAT32)
    with jax.enable_x64(new_val=True):
        check_methods(
            name, target, axis, causal, segments, window, order, dtype=jnp.float64, tolerance=FLOAT64
        )


@pytest.mark.parametrize(
    ("name", "keys"), sample([("diffusion", 9), ("wave", 19), ("advection", 19), ("reaction", 9)], every=2)
)
def test_grouped_heads_with_a_coefficient_per_step_and_head(name, keys, x64):
    """Four query heads share two key heads, and T differs from S in causal rows, which align bottom-right."""
    *arrays, weight = draw(keys=keys, heads=4)
    rng = np.random.default_rng(3)
    pde = jax.tree.map(lambda c: jnp.asarray(c * rng.uniform(0.3, 1, (3, 4))), PDES[name])
    expected = apply(expected_weights(arrays, name, pde, 3, 4, is_causal=True), arrays[2])
    options = dict(steps=3, is_causal=True, target="weights", axis="key")
    methods = exact_methods(pde, AttentionOptions(steps=3, target="weights", axis="key"))
    *fast, (output, gradients) = (
        output_and_gradients(arrays, pde, weight, method=method, **options) for method in methods
    )
    close(output, expected, FLOAT64)
    for output, actual in fast:
        close(output, expected, FLOAT64)
        jax.tree.map(lambda a, b: close(a, b, FLOAT64), actual, gradients)


@pytest.mark.parametrize("name", ["diffusion", "reaction"])
def test_time_steps_scale_the_coefficients(name, x64):
    *arrays, _ = draw()
    output = pde_attention(*arrays, PDES[name], steps=2, dt=0.4)
    close(output, apply(expected_weights(arrays, name, PDES[name], 2, 2, dt=0.4), arrays[2]), FLOAT64)


LONG = dict(
    length=150, batch=1, heads=2, kv_heads=1, width=4
)  # several chunks in every method, the last of them partial


@pytest.mark.parametrize(
    ("name", "steps", "keys"), [("diffusion", 1, 150), ("advection", 5, 171), ("diffusion", 40, 131)]
)
def test_the_causal_fold_at_the_seams_of_its_chunks(name, steps, keys):
    *arrays, weight = draw(keys=keys, dtype=jnp.float32, **LONG)
    options = dict(steps=steps, is_causal=True)
    output, gradients = output_and_gradients(arrays, PDES[name], weight, method="folded", **options)
    expected, exact = output_and_gradients(arrays, PDES[name], weight, method="materialized", **options)
    close(output, expected, FLOAT32)
    jax.tree.map(lambda a, b: close(a, b, 5 * FLOAT32), gradients, exact)  # sums over 150 rows


CAUSAL = [(name, "folded") for name in ("diffusion", "wave", "advection")] + [("reaction", "tiled")]


@pytest.mark.parametrize(("name", "method"), CAUSAL)
@pytest.mark.parametrize("base", ["softmax", "performer"])
@pytest.mark.codegen
def test_no_output_depends_on_a_later_token_bit_for_bit(name, method, base):
    *arrays, _ = draw(dtype=jnp.float32, **LONG)
    other_arrays = draw(dtype=jnp.float32, seed=9, **LONG)
    random = jax.random.key(4) if base == "performer" else None
    options = dict(steps=3, is_causal=True, method=method, base=base, feature_key=random)
    zero = jnp.zeros_like(arrays[0])
    full = output_and_gradients(arrays, PDES[name], zero, **options)[0]
    for t in (0, 1, 63, 64, 100):
        changed = [
            jnp.concatenate([x[:, : t + 1], y[:, t + 1 :]], 1)
            for x, y in zip(arrays, other_arrays, strict=False)
        ]
        output, gradients = output_and_gradients(changed, PDES[name], zero.at[:, t].set(1.0), **options)
        np.testing.assert_array_equal(output[:, : t + 1], full[:, : t + 1])
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

    def shifted_loss(h):
        return loss(*jax.tree.map(lambda x, d: x + h * d, point, direction))

    close(slope, (shifted_loss(1e-5) - shifted_loss(-1e-5)) / 2e-5, 1e-6)


@pytest.mark.parametrize(
    ("name", "causal", "segments"),
    sample(itertools.product(["wave", "reaction"], [False, True], [False, True]), every=3),
)
def test_performer_methods_are_its_definition(name, causal, segments, x64):
    *arrays, weight = draw(heads=4)
    options = dict(steps=3, is_causal=causal, base="performer", feature_key=jax.random.key(0))
    ids = PACKED if segments else None
    methods = exact_methods(
        PDES[name], AttentionOptions(steps=3, target="weights", axis="key", base="performer")
    )
    *fast, (expected, exact) = (
        output_and_gradients(arrays, PDES[name], weight, ids, method=method, **options) for method in methods
    )
    for output, gradients in fast:
        close(output, expected, FLOAT64)
        jax.tree.map(lambda a, b: close(a, b, FLOAT64), gradients, exact)


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


@pytest.mark.parametrize("causal", [False, True])
def test_the_fold_holds_no_matrix(causal):
    """With 4 heads of width 64 and T = 8192, the weights would need 1 GiB; the temporaries need less than 128 MiB."""
    shape = jax.ShapeDtypeStruct((1, 8192, 4, 64), jnp.float32)
    program: Any = jax.jit(partial(pde_attention, pde=Diffusion(0.1), steps=4, is_causal=causal))
    assert program.lower(shape, shape, shape).compile().memory_analysis().temp_size_in_bytes < 128 * 2**20


def test_new_coefficients_do_not_compile_again():
    *arrays, _ = draw(dtype=jnp.float32)
    program: Any = jax.jit(lambda alpha: pde_attention(*arrays, Diffusion(alpha), steps=2))
    for alpha in (0.1, 0.2):
        program(alpha)
    assert program._cache_size() == 1
