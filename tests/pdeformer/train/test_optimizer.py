"""Schedules, and the optimizer and its weight decay."""

import math
import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from pdeformer import Classifier, ModelConfig, sharding, train
from pdeformer.layers import StencilConfig
from tests.helpers import tiny

# The schedule.


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (
            {"schedule": "rsqrt", "learning_rate": 0.05, "warmup": 1000},  # Long Range Arena, peak 1.6e-3
            {0: 0, 500: 0.05 / 2 / math.sqrt(1000), 1000: 1.5811388e-3, 4000: 0.05 / math.sqrt(4000)},
        ),
        (
            {"schedule": "cosine", "learning_rate": 2.0, "warmup": 10},
            {0: 0, 5: 1, 10: 2, 55: 1, 100: 0, 120: 0},
        ),
        ({"schedule": "cosine", "learning_rate": 2.0}, {0: 2, 25: 1 + math.sqrt(0.5), 50: 1, 100: 0}),
        (
            {"schedule": "linear", "learning_rate": 2.0, "warmup": 20},
            {0: 0, 10: 1, 20: 2, 60: 1, 80: 0.5, 100: 0},
        ),
        ({"schedule": "constant", "learning_rate": 2.0, "warmup": 4}, {0: 0, 1: 0.5, 3: 1.5, 4: 2, 99: 2}),
        ({"schedule": "constant", "learning_rate": 2.0}, {0: 2, 99: 2}),
        (  # Continuous-Time Attention: 0.1 + 0.9 min(s, W) / W
            {"schedule": "constant", "learning_rate": 1e-4, "warmup": 10, "warmup_start": 0.1},
            {0: 1e-5, 5: 5.5e-5, 10: 1e-4, 99: 1e-4},
        ),
        ({"schedule": "linear", "learning_rate": 2.0, "warmup": 200}, {0: 0, 50: 0.5, 100: 1}),
    ],
)
def test_schedule_is_its_equation(config, values):
    rate = train.schedule(train.Optimizer(**config), 100)
    for step, value in values.items():
        # float32: the cosine of pi/2 is off by 4e-8, times the peak of 2.
        np.testing.assert_allclose(rate(step), value, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
        ({"schedule": "rsqrt"}, "warmup must be at least 0, and at least 1 for rsqrt, got 0"),
        ({"warmup": -1}, "warmup must be at least 0"),
        ({"warmup_start": 1.5}, "warmup_start must lie in [0, 1], got 1.5"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
        ({"b1": 1.0}, "b1 must lie in [0, 1), got 1.0"),
        ({"b2": -0.1}, "b2 must lie in [0, 1)"),
        ({"eps": 0.0}, "eps must be positive, got 0.0; change optimizer.eps."),
        ({"clip": -1.0}, "clip must be at least 0 (0 is off)"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
    ],
)
def test_contradictory_optimizer_is_refused(config, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        train.Optimizer(**config)


def test_unknown_schedule_is_refused():
    config = train.Optimizer()
    object.__setattr__(config, "schedule", "step")  # bypasses the run-time type checker of the tests
    with pytest.raises(ValueError, match="schedule must be cosine, linear, rsqrt or constant, got 'step'"):
        config.__post_init__()


# The optimizer.


def test_weight_decay_acts_on_kernels_and_embeddings_only():
    params = nnx.to_pure_dict(nnx.state(tiny.Tiny(rngs=nnx.Rngs(0))))
    stencil = {"kernel": jnp.ones((3, 8)), "rate": jnp.ones(8)}
    params["blocks"]["stencils"] = {"before_ffn": stencil}
    params["after_embedding"] = stencil
    names = {
        sharding.path_name(path)
        for path, decays in jax.tree_util.tree_leaves_with_path(train.decay_mask(params))
        if decays
    }
    assert names == {
        "embed/token/embedding",
        "blocks/attention/query/kernel",
        "blocks/attention/key/kernel",
        "blocks/attention/value/kernel",
        "blocks/attention/out/kernel",
        "blocks/ffn/up/kernel",
        "blocks/ffn/down/kernel",
        "head/kernel",
    }


def test_decay_mask_has_the_names_of_every_form_of_the_parameters():
    model = tiny.Tiny(rngs=nnx.Rngs(0))
    pure = train.decay_mask(nnx.to_pure_dict(nnx.state(model)))
    assert nnx.to_pure_dict(train.decay_mask(nnx.state(model))) == pure


def test_an_adamw_of_the_user_does_not_move_alpha_without_a_gradient():
    """Decay of the free parameter a of α = σ(a)/2 would pull α from .05 toward 1/4."""
    config = ModelConfig(
        16,
        width=8,
        layers=1,
        ffn=8,
        placements=("before_ffn",),
        stencil=StencilConfig("heat", 0.05, learned=True),
    )
    model = Classifier(config, rngs=nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model)))
    tx = optax.adamw(0.1, weight_decay=1.0, mask=train.decay_mask)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)))
    after = nnx.to_pure_dict(nnx.state(model))
    placed: Any = model.blocks.stencils["before_ffn"]
    np.testing.assert_allclose(placed.alpha, 0.05, rtol=1e-6)
    for tree in ("head", "embed"):
        name = {"head": "kernel", "embed": "tokens"}[tree]
        old, new = (jax.tree.leaves(x[tree][name])[0] for x in (before, after))
        np.testing.assert_allclose(new, 0.9 * old, rtol=1e-6)
    np.testing.assert_array_equal(after["norm"]["scale"], before["norm"]["scale"])


def test_decay_shrinks_a_kernel_by_rate_times_decay_and_leaves_a_bias():
    """With zero gradients Adam does nothing: p <- p (1 - learning_rate * weight_decay)."""
    tx = train.make_optimizer(train.Optimizer(learning_rate=0.5, schedule="constant", weight_decay=0.1), 10)
    params = {"head": {"kernel": jnp.full(3, 2.0), "bias": jnp.full(3, 2.0)}}
    zero = jax.tree.map(jnp.zeros_like, params)
    updated: Any = optax.apply_updates(params, tx.update(zero, tx.init(params), params)[0])
    np.testing.assert_allclose(updated["head"]["kernel"], 2.0 * (1 - 0.5 * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(updated["head"]["bias"], 2.0)


def test_decay_of_all_parameters_shrinks_a_bias_and_a_coefficient_too():
    config = train.Optimizer(learning_rate=0.5, schedule="constant", weight_decay=0.1, decay="all")
    tx, params = train.make_optimizer(config, 10), {"steps": {"alpha": jnp.full(3, 2.0)}, "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updated: Any = optax.apply_updates(params, tx.update(zero, tx.init(params), params)[0])
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new, 0.95 * old, rtol=1e-6), updated, params)


def test_two_adam_steps_are_the_ones_computed_by_hand():
    config = train.Optimizer(learning_rate=0.1, schedule="constant", b1=0.8, b2=0.9, eps=1e-3)
    tx = train.make_optimizer(config, 10)
    p, m, v = 1.0, 0.0, 0.0
    params: Any = {"bias": jnp.array([p])}
    state = tx.init(params)
    for t, g in enumerate((0.5, -2.0), start=1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        p -= 0.1 * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.9**t)) + 1e-3)
        updates, state = tx.update({"bias": jnp.array([g])}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["bias"], [p], rtol=1e-5)


def test_clip_scales_the_gradient_to_the_norm_and_leaves_a_smaller_one():
    """Gradient (3, 4) has norm 5; clipped to 1 it is (0.6, 0.8). Adam's first moment is 0.1 of it."""
    tx = train.make_optimizer(train.Optimizer(clip=1.0), 10)
    params = {"bias": jnp.zeros(2)}
    for gradient, clipped in (([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])):
        _, state = tx.update({"bias": jnp.array(gradient)}, tx.init(params), params)
        moment = cast(Any, optax.tree.get(state, "mu"))["bias"]
        np.testing.assert_allclose(moment, 0.1 * np.array(clipped), rtol=1e-6)
