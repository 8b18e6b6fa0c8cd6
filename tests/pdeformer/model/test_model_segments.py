"""Models at the walls of segments: padding, packed sequences, rows of a batch, causality."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer.model import CausalLM, Classifier
from tests.pdeformer.model.numpy_transformer import (
    EVERYWHERE,
    PACKED,
    STENCILS,
    TINY,
    call,
    randomized,
    tokens,
)

# Padding and packing


@pytest.mark.parametrize(("kind", "pooling"), [("gated", "mean"), ("adaptive", "cls")])
def test_padding_changes_no_logit(kind, pooling):
    config = replace(EVERYWHERE, stencil=STENCILS[kind], pooling=pooling)
    model = randomized(Classifier(config, nnx.Rngs(0)))
    expected = call(model, tokens(length=9))
    ids = jnp.pad(jnp.ones((2, 9), jnp.int32), ((0, 0), (0, 3)))
    right = jnp.concatenate([tokens(length=9), tokens(length=3, seed=1)], axis=1)
    np.testing.assert_allclose(call(model, right, ids), expected, rtol=0, atol=2e-5)
    if pooling == "mean":  # left padding separates a CLS token from the text, which changes its neighbor
        left = jnp.concatenate([tokens(length=3, seed=1), tokens(length=9)], axis=1)
        np.testing.assert_allclose(call(model, left, ids[:, ::-1]), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_row_of_padding_is_finite_and_so_is_its_gradient(pooling):
    config = replace(TINY, placements=("before_norm",), pooling=pooling)
    graphdef, params = nnx.split(Classifier(config, nnx.Rngs(0)))
    ids = jnp.zeros((2, 12), jnp.int32).at[0, :5].set(1)

    def loss(p):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, p)(tokens(), ids)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert jnp.isfinite(value)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("kind", "shell"), [("gated", Classifier), ("adaptive", CausalLM)])
def test_packed_segments_read_as_they_do_alone(kind, shell):
    config = replace(EVERYWHERE, stencil=STENCILS[kind])
    model = randomized(shell(config, nnx.Rngs(0)))
    method = "__call__" if isinstance(model, CausalLM) else "hidden_states"
    packed = call(model, tokens(), PACKED, method=method)
    for start in (0, 5):
        alone = call(model, tokens()[:, start : start + 5], method=method)
        np.testing.assert_allclose(packed[:, start : start + 5], alone, rtol=0, atol=2e-5)


def test_rows_of_a_batch_do_not_meet():
    model = randomized(Classifier(replace(EVERYWHERE, stencil=STENCILS["gated"]), nnx.Rngs(0)))
    ids = jnp.asarray([[1] * 12, [1] * 7 + [0] * 5], jnp.int32)
    in_batch = call(model, tokens(), ids)
    for row in range(2):
        alone = call(model, tokens()[row : row + 1], ids[row : row + 1])
        np.testing.assert_allclose(alone[0], in_batch[row], rtol=0, atol=1e-5)


# Causality


@pytest.mark.parametrize(("kind", "norm"), [("heat", "pre"), ("multiscale", "post")])
@pytest.mark.codegen
def test_a_causal_model_reads_no_later_token_bit_for_bit(kind, norm):
    model = randomized(CausalLM(replace(EVERYWHERE, norm=norm, stencil=STENCILS[kind]), nnx.Rngs(0)))
    before = call(model, tokens())
    assert before.shape == (2, 12, 11)
    for t in (1, 6, 11):
        after = call(model, tokens().at[:, t:].set((tokens()[:, t:] + 1) % 11))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert jnp.all(jnp.any(after[:, t] != before[:, t], axis=-1))


def test_no_gradient_of_a_causal_model_reaches_a_later_token():
    graphdef, params = nnx.split(
        randomized(CausalLM(replace(EVERYWHERE, stencil=STENCILS["adaptive"]), nnx.Rngs(0)))
    )
    distinct = jnp.arange(11)[None]  # token j is only at position j, so row j of the table is its embedding

    def logits(params, t):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, params)(distinct)[:, t]))

    gradient = jax.jit(jax.grad(logits))
    for t in (0, 4, 9):
        rows = np.asarray(gradient(params, t).embed.tokens.embedding[...])
        np.testing.assert_array_equal(rows[t + 1 :], 0)
        assert np.all(np.any(rows[: t + 1] != 0, axis=1))
