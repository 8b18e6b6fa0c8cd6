"""Evolved attention refuses combinations without a meaning, and says what to use instead."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, ReactionDiffusion, attention
from tests.pdeformer.attention.evolved_attention import PDES, combinations, draw, pde_attention

pde_attention_weights: Any = attention.pde_attention_weights


def outside():
    meaningful = {(name, target, axis, causal) for name, target, axis, causal, *_ in combinations()}
    all_combinations = itertools.product(PDES, ("weights", "logits"), ("key", "query", "both"), (False, True))
    return sorted(set(all_combinations) - meaningful)


@pytest.mark.parametrize(("name", "target", "axis", "causal"), outside())
def test_a_combination_with_no_meaning_says_what_to_use_instead(name, target, axis, causal):
    query, key, value, _ = draw(dtype=jnp.float32)
    with pytest.raises(ValueError, match=r"got .*; use "):
        pde_attention(query, key, value, PDES[name], steps=2, target=target, axis=axis, is_causal=causal)


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
