"""Laws of evolved attention: rows stay distributions, limits are plain attention, padding is never read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, attention
from pdeformer.attention import folded
from pdeformer.attention.materialized import EvolutionSpec
from pdeformer.attention.types import AttentionInputs, attention_mask
from pdeformer.integrators.meshes import map_in_groups
from tests.pdeformer.attention.evolved_attention import (
    FLOAT32,
    FLOAT64,
    PACKED,
    PDES,
    apply,
    close,
    draw,
    output_and_gradients,
    pde_attention,
)

pytestmark = pytest.mark.core

# the tests pass options as dictionaries, which a type checker cannot match with keywords
dot_product_attention: Any = attention.dot_product_attention
pde_attention_weights: Any = attention.pde_attention_weights


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
    """Row sums stay 1; only the wave has negative entries; diffusion and a fisher reaction flatten the rows."""
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
    """Uniform scores give rows 1/(t+1) on 0 … t; the wall behind t keeps them, and without it mass would leak."""
    flat = jnp.zeros((1, 4, 1, 2))
    weights = pde_attention_weights(flat, flat, Diffusion(0.25), steps=3, is_causal=True)[0, 0]
    close(weights, np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None], FLOAT32)


def test_advection_moves_weight_to_earlier_keys():
    query, key, _, _ = draw(dtype=jnp.float32)
    position = jnp.arange(14.0)
    mean = [
        (pde_attention_weights(query, key, AdvectionDiffusion(0.0, beta), steps=2) @ position).mean()
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
    output, gradients = output_and_gradients(
        (query, key, value), PDES["diffusion"], weight, PACKED, steps=2, is_causal=True
    )
    assert np.all(np.isfinite(output))
    assert np.all(np.asarray(output)[PACKED == 0] == 0)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradients))


LENGTH, STEPS = 150, 2  # three chunks of 64 rows, each with 67 keys
SPEC = EvolutionSpec(
    steps=STEPS,
    target="weights",
    axis="key",
    causal=True,
    order="strang",
    renormalize=False,
    random_features=False,
    shared=True,
    constant=True,
    dropout=0.0,
    precision="highest",
)


def band_with_gradients(query, key, value, weight):
    ids = jnp.asarray(np.repeat([[1, 2, 0]], [70, 73, 7], axis=1), jnp.int32)
    mask = attention_mask(LENGTH, LENGTH, ids, ids, is_causal=True)

    def band(query, key, value):
        pde = Diffusion(jnp.full((STEPS, 1), 0.3, jnp.float64))
        output, lse = folded.causal_band(SPEC, pde, AttentionInputs(query, key, value, mask, None))
        return (output * weight).sum(), (output, lse)

    return jax.jit(jax.grad(band, argnums=(0, 1, 2), has_aux=True))(query, key, value)


# one chunk of one head; one head in two pairs of chunks, of which the last is padding; two heads of three chunks
@pytest.mark.parametrize(("chunks", "layout"), [(1, (3, 1)), (2, (4, 2)), (6, (3, 3))])
def test_the_band_is_the_same_in_blocks_of_any_size(chunks, layout, monkeypatch, x64):
    arrays = draw(LENGTH, batch=1, width=3)
    monkeypatch.setattr(folded, "BLOCK", 2**20)
    expected = band_with_gradients(*arrays)
    entries = chunks * 64 * 67
    sizes = folded.BandLayout.of(LENGTH, STEPS, entries)
    assert (sizes.chunks, sizes.group) == layout
    monkeypatch.setattr(folded, "BLOCK", entries)
    jax.tree.map(lambda a, b: close(a, b, 1e-12), band_with_gradients(*arrays), expected)


@pytest.mark.parametrize("most", [0, 1, 4, 6, 100])
def test_groups_of_any_size_give_what_single_entries_give(most):
    x = jnp.arange(12.0).reshape(6, 2)
    actual = map_in_groups(lambda x: (x[0] * x[1], x + 1), x, most)
    assert np.array_equal(actual[0], x[:, 0] * x[:, 1])
    assert np.array_equal(actual[1], x + 1)
