"""A training step with sequences split over devices equals the one on one device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer import Classifier, ModelConfig, sharding
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.train import Optimizer, init_state, make_train_step

RNG = np.random.default_rng(7)
TOKENS = RNG.integers(1, 12, (4, 31)).astype(np.int32)
IDS = (np.arange(31) < np.array([[31], [20], [9], [26]])).astype(np.int32)
BATCH = {"tokens": TOKENS, "labels": RNG.integers(0, 3, 4), "segment_ids": IDS}
DIFFUSION = PDEAttentionConfig("diffusion", steps=3)
VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "heat": {
        "placements": ("after_embedding", "before_norm"),
        "stencil": StencilConfig("heat", learned=True, steps=3),
    },
    "adaptive": {"placements": ("before_ffn",), "stencil": StencilConfig("adaptive", input_adaptive=True)},
    "free": {"placements": ("before_ffn",), "stencil": StencilConfig("adaptive", free=True)},
    "multiscale": {"placements": ("between_layers",), "stencil": StencilConfig("multiscale")},
    "gated": {"placements": ("between_layers",), "stencil": StencilConfig("multiscale", gated=True)},
    "canon, rotary": {
        **{"placements": ("before_ffn",), "stencil": StencilConfig("canon")},
        **{"positions": "rotary", "mixer": "windowed", "window": 9},
    },
    "shift of positions": {
        **{"placements": ("positions_only",), "stencil": StencilConfig("shift", bidirectional=True)},
        "mixer": "lru",
    },
    "alibi": {"positions": "alibi"},
    "pde attention": {"attention": DIFFUSION},
    "logits": {"attention": PDEAttentionConfig("advection-diffusion", steps=2, target="logits", axis="both")},
    "reaction": {"attention": PDEAttentionConfig("reaction-diffusion", steps=2)},
}


def config(variant, **options):
    sizes: Any = dict(vocabulary=12, width=8, heads=2, ffn=16, layers=2, classes=3, max_len=40)
    rates = {"dropout": 0.0, "attention_dropout": 0.0}
    return ModelConfig(**sizes | rates | VARIANTS[variant] | options)


def one_step(config, batch, mesh, key):
    optimizer = Optimizer(warmup=0)
    graphdef, state, shardings = init_state(
        lambda rngs: Classifier(config, rngs), optimizer, 10, mesh, seed=0
    )
    step = make_train_step(graphdef, optimizer, 10, mesh, shardings)
    batch = sharding.put_batch(batch, mesh)
    compiled = step.lower(state, batch, key).compile()
    return jax.tree.map(np.asarray, compiled(state, batch, key)), compiled.as_text()


def check(config, batch):
    key = jax.random.key(1)
    whole, _ = one_step(config, batch, sharding.make_mesh(data=1), key)
    split, text = one_step(config, batch, sharding.make_mesh(data=2, seq=4), key)
    # a bias of distance has no ring: every device collects the keys
    assert ("all-gather" if config.positions == "alibi" else "collective-permute") in text
    for x, y in zip(jax.tree.leaves(split), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_a_training_step_equals_the_one_on_one_device():
    """Loss, gradient norm, parameters and moments, for 30 tokens and CLS that are padded to 32."""
    batch = BATCH | {name: BATCH[name][:, :30] for name in ("tokens", "segment_ids")}
    check(config("heat", pooling="cls", attention=DIFFUSION), batch)


@pytest.mark.exhaustive
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_step_of_every_variant_equals_the_one_on_one_device(variant, pooling):
    """With mean pooling the 31 tokens are padded to 32."""
    check(config(variant, pooling=pooling), BATCH)


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", ["baseline", "pde attention"])
def test_dropout_draws_the_same_bits_on_any_mesh(variant):
    """32 tokens with CLS need no padding."""
    check(config(variant, pooling="cls", dropout=0.2, attention_dropout=0.2), BATCH)


@pytest.mark.exhaustive
def test_padding_for_the_mesh_is_never_read():
    """29 tokens and CLS are padded to 32; without segment ids all tokens are one segment."""
    model = Classifier(config("heat", pooling="cls"), nnx.Rngs(0))
    whole = model(TOKENS[:, :29])
    with jax.set_mesh(sharding.make_mesh(data=2, seq=4)):
        split = jax.jit(model)(jnp.asarray(TOKENS[:, :29]))
    np.testing.assert_allclose(split, whole, atol=1e-6)
