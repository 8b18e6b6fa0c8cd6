"""Helpers for layers of evolved attention: their options, random inputs and parameters, and their definition."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.attention import pde_attention
from pdeformer.layers import PDEAttention, PDEAttentionConfig
from pdeformer.layers.attention import Kind
from pdeformer.model import ModelConfig
from pdeformer.pde import PDE

HEADS = 2
INITIAL: dict[Kind, PDE] = {
    "diffusion": Diffusion(0.1),
    "wave": Wave(0.15),
    "reaction-diffusion": ReactionDiffusion(0.1, 0.02),
    "advection-diffusion": AdvectionDiffusion(0.1, 0.03),
}
REACTIONS = {
    "spread": {},
    "sharpen": {"beta": -0.02},
    "euler": {"order": "euler", "beta": 0.3},
    "euler sharpen": {"order": "euler", "beta": -0.3},
    "euler allen_cahn": {"order": "euler", "reaction": "allen_cahn"},
    "first": {"order": "reaction_first"},
    "first sharpen": {"order": "reaction_first", "beta": -0.2},
    "first allen_cahn": {"order": "reaction_first", "reaction": "allen_cahn"},
    "allen_cahn": {"reaction": "allen_cahn"},
}
# every equation, target, axis, reaction and share occurs at least once
FORMS = {
    "diffusion": {"kind": "diffusion"},
    "diffusion per step": {"kind": "diffusion", "share": "step", "axis": "query"},
    "wave": {"kind": "wave"},
    "wave on logits": {"kind": "wave", "target": "logits", "axis": "both", "share": "layer"},
    "advection": {"kind": "advection-diffusion", "share": "step"},
    "advection back": {"kind": "advection-diffusion", "beta": -0.2, "axis": "both", "window": 3},
    "performer": {"kind": "advection-diffusion", "base": "performer", "features": 8, "feature_seed": 3},
    **{name: {"kind": "reaction-diffusion", **options} for name, options in REACTIONS.items()},
    "reaction per step": {"kind": "reaction-diffusion", "share": "step", "steps": 3},
    "reaction on logits": {"kind": "reaction-diffusion", "target": "logits", "reaction": "allen_cahn"},
}
CAUSAL = [name for name, form in FORMS.items() if not {"target", "axis"} & form.keys()]
SEGMENTS = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 1], [3] * 4 + [0] * 2 + [3] * 5], jnp.int32)
TINY = ModelConfig(
    vocabulary=11,
    width=8,
    heads=HEADS,
    ffn=12,
    max_len=16,
    classes=3,
    dropout=0.0,
    attention_dropout=0.0,
)
EVOLVED = replace(TINY, attention=PDEAttentionConfig("advection-diffusion", share="step", steps=2, beta=0.3))
PACKED = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]] * 2, jnp.int32)


def build(name, **changes):
    return PDEAttention(HEADS, **FORMS[name] | changes)


def arrays(length=11, seed=0, dtype=None):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=(2, length, HEADS, 4)), dtype) for _ in range(3))


@partial(jax.jit, static_argnums=0, static_argnames="is_causal")
def run(graphdef, params, qkv, segment_ids=None, *, is_causal=False):
    return nnx.merge(graphdef, params)(*qkv, segment_ids=segment_ids, is_causal=is_causal)


def apply(layer, qkv, segment_ids=None, *, is_causal=False):
    return run(*nnx.split(layer), qkv, segment_ids, is_causal=is_causal)


def perturb(layer, seed=0):
    """Add normal random numbers to every parameter of the layer, so that heads and steps differ."""
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(layer)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape), x.dtype), params)
    )


def extreme(layer, seed):
    """Set every parameter of the layer to an extreme value."""
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(layer)
    values = [-1e30, -1e4, -10.0, 0.0, 10.0, 1e4, 1e30]

    def draw(x):
        return jnp.asarray(rng.choice(values, size=x.shape), x.dtype)

    return nnx.merge(graphdef, jax.tree.map(draw, params))


OPTIONS = ("steps", "target", "axis", "base", "window", "renormalize", "order", "features")


@partial(jax.jit, static_argnames=("function", "is_causal", *OPTIONS))
def evaluate(function, qkv, pde, **options):
    return function(*qkv, pde, method="materialized", **options)


def definition(layer, qkv, function: Any = pde_attention, **call):
    """Call the function of `pdeformer.attention` with the coefficients and options of the layer."""
    config = layer.config
    options = {name: getattr(config, name) for name in OPTIONS} | call
    key = jax.random.key(config.feature_seed) if config.base == "performer" else None
    return evaluate(function, qkv, layer.pde(), feature_key=key, **options)


@partial(jax.jit, static_argnums=0)
def loss_and_gradients(graphdef, params, qkv):
    """Return a loss and the coefficients, and the gradients of the loss in the parameters and the inputs."""

    def loss(params, qkv):
        layer = nnx.merge(graphdef, params)
        return jnp.sum(jnp.sin(layer(*qkv, segment_ids=SEGMENTS))), layer.pde()

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, qkv)
