"""`train` and `eval` of nnx switch the dropout of a model; an explicit key wins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from pdeformer import CausalLM, Classifier, Matcher, ModelConfig

TOKENS = jnp.arange(10).reshape(2, 5)


def build(kind=Classifier, rngs=None, **options):
    config = ModelConfig(vocabulary=16, width=8, layers=2, ffn=8, **options)
    return kind(config, rngs=rngs or nnx.Rngs(0, dropout=1))


def call(model, **options):
    tokens = (TOKENS, TOKENS) if isinstance(model, Matcher) else (TOKENS,)
    return np.asarray(model(*tokens, **options))


@pytest.mark.parametrize("kind", [Classifier, Matcher, CausalLM])
def test_dropout_follows_train_and_eval(kind):
    model = build(kind)
    deterministic = call(model)
    np.testing.assert_array_equal(call(model), deterministic)  # a new model is in evaluation mode
    model.train()
    first, second = call(model), call(model)
    assert not np.array_equal(first, deterministic)
    assert not np.array_equal(first, second)
    key = jax.random.key(3)
    by_key = call(model, key=key)
    np.testing.assert_array_equal(call(model, key=key), by_key)
    np.testing.assert_array_equal(call(nnx.view(model, deterministic=True)), deterministic)
    model.eval()
    np.testing.assert_array_equal(call(model), deterministic)
    np.testing.assert_array_equal(call(model, key=key), by_key)  # an explicit key wins


@pytest.mark.parametrize("rates", [(0.1, 0.0), (0.0, 0.1)])
def test_training_without_a_key_says_how(rates):
    model = build(rngs=nnx.Rngs(0), dropout=rates[0], attention_dropout=rates[1])
    assert all(isinstance(x, nnx.Param) for _, x in nnx.to_flat_state(nnx.state(model)))
    call(model)
    model.train()
    with pytest.raises(
        ValueError, match=r"needs a random key, got none; pass key=.*Rngs\(0, dropout=1\).*eval"
    ):
        call(model)
    call(model, key=jax.random.key(0))


def test_no_dropout_needs_no_key_and_a_stream_does_not_change_the_parameters():
    model = build(rngs=nnx.Rngs(0), dropout=0.0, attention_dropout=0.0)
    model.train()
    np.testing.assert_array_equal(call(model), call(build(dropout=0.0, attention_dropout=0.0)))


def test_a_training_loop_of_flax_draws_new_dropout_in_every_step():
    model = build()
    optimizer = nnx.Optimizer(model, optax.sgd(0.0), wrt=nnx.Param)
    model.train()

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: jnp.sum(model(TOKENS) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    assert float(step(model, optimizer)) != float(step(model, optimizer))
