"""Every method reads every option: options times methods times equations against the dense definition in float64."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer.attention import dot_product_attention, options
from pdeformer.attention.dropout import draw_dropout_bits, keep_mask
from tests.helpers.sampling import sample
from tests.pdeformer.attention.evolved_attention import (
    PDES,
    apply,
    close,
    draw,
    expected_weights,
    pde_attention,
)

SIZES = dict(length=7, batch=1, heads=2, kv_heads=1, width=3)
STEPS, RATE = 2, 0.4


def kept_pairs(query, key, random):
    bits = draw_dropout_bits(random, query, key)
    batch, length, heads, _ = query.shape
    by_query = np.moveaxis(np.asarray(bits.query).reshape(batch, length, heads), 2, 1)
    by_key = np.moveaxis(np.repeat(np.asarray(bits.key), heads // key.shape[2], axis=2), 2, 1)
    pairs = jnp.asarray(by_query[..., :, None]), jnp.asarray(by_key[..., None, :])
    return np.asarray(keep_mask(*pairs, RATE))


def check(name, choice, *, with_dropout, length=7):
    query, key, value, _ = draw(**(SIZES | dict(length=length)))
    random = jax.random.key(3)
    dropout: Any = dict(dropout=RATE, dropout_key=random) if with_dropout else {}
    dense = dict(keep=kept_pairs(query, key, random), dropout=RATE) if with_dropout else {}
    names = {k: v for k, v in choice.items() if k != "renormalize"}
    renormalize = choice["renormalize"] == "l1"
    weights = expected_weights(
        (query, key), name, PDES[name], STEPS, 2, renormalize=renormalize, **names, **dense
    )
    expected = apply(weights, value)
    fields = options.AttentionOptions(steps=STEPS, **choice, **dropout)
    for method in options.exact_methods(PDES[name], fields):
        output = pde_attention(query, key, value, PDES[name], steps=STEPS, method=method, **choice, **dropout)
        close(output, expected, 1e-11)


SPACES = [(target, axis) for target in ("weights", "logits") for axis in ("key", "query", "both")]


@pytest.mark.parametrize(
    ("name", "space", "with_dropout"),
    sample(itertools.product(["diffusion", "back"], SPACES, [False, True]), every=3),
)
def test_rows_are_divided_by_their_sum_in_every_method(name, space, with_dropout, x64):
    target, axis = space
    check(name, dict(target=target, axis=axis, renormalize="l1"), with_dropout=with_dropout)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("wave", dict(renormalize="l1", is_causal=True)),
        ("advection", dict(renormalize="l1", is_causal=True, window=3)),
        ("advection", dict(renormalize="none", axis="query", window=2)),
        ("reaction", dict(renormalize="none")),
        ("reaction", dict(renormalize="l1", order="reaction_first", window=3)),
        ("allen_cahn", dict(renormalize="l1", target="logits")),
    ],
)
def test_renormalization_beside_other_options(name, choice, x64):
    check(name, choice, with_dropout=True, length=9)


@pytest.mark.parametrize("method", ["materialized", "folded", "tiled"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_padded_keys_of_cross_attention_are_as_if_they_were_cut_off(method, is_causal, x64):
    """Two rows with 5 and 8 of 9 keys against each row alone; a causal row aligns with the last of all S keys."""
    query, key, value, _ = draw(length=4, keys=9, batch=2)
    key_ids = np.arange(9) < np.array([5, 8])[:, None]
    name = "advection"
    common = dict(steps=STEPS, is_causal=is_causal, method=method)
    output = pde_attention(query, key, value, PDES[name], key_segment_ids=key_ids, **common)
    weights = expected_weights(
        (query, key), name, PDES[name], STEPS, 2, key_segment_ids=key_ids, is_causal=is_causal
    )
    close(output, apply(weights, value), 1e-11)
    if not is_causal:
        for row, count in enumerate((5, 8)):
            alone = [query[row : row + 1], key[row : row + 1, :count], value[row : row + 1, :count]]
            close(output[row : row + 1], pde_attention(*alone, PDES[name], **common), 1e-11)


@pytest.mark.parametrize("method", ["chunked", "xla"])
def test_padded_keys_of_plain_attention_are_as_if_they_were_cut_off(method):
    query, key, value, _ = draw(length=4, keys=9, batch=2, dtype=jnp.float32)
    key = key.at[1, 6:].set(jnp.nan)
    ids = [[True] * 9, [True] * 6 + [False] * 3]
    output = dot_product_attention(query, key, value, key_segment_ids=ids, method=method)
    alone = dot_product_attention(query[1:], key[1:, :6], value[1:, :6], method=method)
    close(output[1:], alone, 1e-6)


def test_a_traced_scale_is_the_scale():
    query, key, value, _ = draw(dtype=jnp.float32)
    attend = jax.jit(lambda scale: dot_product_attention(query, key, value, scale=scale))
    close(attend(0.3), dot_product_attention(query, key, value, scale=0.3), 1e-6)


@pytest.mark.parametrize(
    "attend", [dot_product_attention, lambda q, k, v: pde_attention(q, k, v, None, steps=0)]
)
def test_mixed_dtypes_are_computed_in_the_widest_one(attend, x64):
    query, key, value, _ = draw()
    narrow = query.astype(jnp.float32)
    expected = attend(narrow.astype(jnp.float64), key, value)
    close(attend(narrow, key, value), expected, 1e-12)
    close(
        attend(key.astype(jnp.float16), value, narrow),
        attend(*(x.astype(jnp.float64) for x in (key.astype(jnp.float16), value, narrow))),
        1e-6,
    )
