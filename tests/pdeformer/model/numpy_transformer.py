"""A forward pass of the Transformer in NumPy, and the configurations that the tests of models share."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pdeformer import stencil
from pdeformer.layers import StencilConfig
from pdeformer.model import PLACEMENTS, ModelConfig

TINY = ModelConfig(
    vocabulary=11,
    width=8,
    layers=2,
    heads=2,
    ffn=12,
    max_len=16,
    classes=3,
    attention_bias=True,
    dropout=0.0,
    attention_dropout=0.0,
)
EVERYWHERE = replace(TINY, placements=PLACEMENTS)
STENCILS = {
    "heat": StencilConfig("heat", alpha=0.4, learned=True, steps=2),
    "adaptive": StencilConfig("adaptive", alpha=0.4, width=5, input_adaptive=True),
    "multiscale": StencilConfig("multiscale", alpha=0.4, dilations=(1, 3)),
    "gated": StencilConfig("multiscale", alpha=0.4, gated=True),
}
PACKED = jnp.asarray([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0]] * 2, jnp.int32)


def tokens(batch=2, length=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 11, (batch, length)), jnp.int32)


def randomized(model, seed=0):
    """Add random numbers to all parameters of the model, so that no bias or stencil is trivial."""
    graphdef, params = nnx.split(model)
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(x.dtype), params)
    )


@partial(jax.jit, static_argnums=0, static_argnames="method")
def run(graphdef, params, *inputs, key=None, method="__call__"):
    return getattr(nnx.merge(graphdef, params), method)(*inputs, key=key)


def call(model, *inputs, key=None, method="__call__"):
    """Call a method of the model, compiled once per structure and shape."""
    return run(*nnx.split(model), *inputs, key=key, method=method)


def parameters(model):
    """Return a map from the names of the parameters to their arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


class NumpyTransformer:
    """The Transformer of the docstrings for one segment per row, in float64, block after block."""

    def __init__(self, model):
        self.config, self.causal = model.config, model.causal
        self.values = {name: np.asarray(x, np.float64) for name, x in parameters(model).items()}

    def linear(self, name, u, layer=...):
        out = u @ self.values[f"{name}/kernel"][layer]
        return out + self.values[f"{name}/bias"][layer] if f"{name}/bias" in self.values else out

    def norm(self, name, u, layer=...):
        centered = u - u.mean(-1, keepdims=True)
        standardized = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6)
        return standardized * self.values[f"{name}/scale"][layer] + self.values[f"{name}/bias"][layer]

    def hook(self, place, u, layer=...):
        """Apply one heat step with the learned diffusivity of this place."""
        if place not in self.config.placements:
            return u
        prefix = "" if place == "after_embedding" else "blocks/stencils/"
        alpha = 0.5 / (1 + np.exp(-self.values[f"{prefix}{place}/rate"][layer]))
        return u + alpha * stencil.laplacian_matrix(u.shape[1]) @ u

    def attention(self, u, layer):
        batch, length, heads = *u.shape[:2], self.config.heads
        query, key, value = (
            self.linear(f"blocks/attention/{name}", u, layer).reshape(batch, length, heads, -1)
            for name in ("query", "key", "value")
        )
        scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        output = np.einsum("bnts,bsnh->btnh", weights, value).reshape(batch, length, -1)
        return self.linear("blocks/attention/out", output, layer)

    def ffn(self, u, layer):
        hidden = self.linear("blocks/ffn/up", u, layer)
        return self.linear("blocks/ffn/down", np.asarray(jax.nn.gelu(jnp.asarray(hidden))), layer)

    def block(self, u, layer):
        def hook(place, u):
            return self.hook(place, u, layer)

        def norm(name, u):
            return self.norm(f"blocks/norm_{name}", u, layer)

        if self.config.norm == "pre":
            u = hook("before_norm", u)
            u = u + hook(
                "after_attention", self.attention(hook("before_attention", norm("attention", u)), layer)
            )
            u = hook("before_norm", u)
            u = u + hook("after_ffn", self.ffn(hook("before_ffn", norm("ffn", u)), layer))
        else:
            u = u + hook("after_attention", self.attention(hook("before_attention", u), layer))
            u = norm("attention", hook("before_norm", u))
            u = u + hook("after_ffn", self.ffn(hook("before_ffn", u), layer))
            u = norm("ffn", hook("before_norm", u))
        return hook("between_layers", u)

    def __call__(self, tokens):
        u = self.values["embed/tokens/embedding"][np.asarray(tokens)]
        if self.config.pooling == "cls":
            first = np.broadcast_to(self.values["embed/cls/embedding"], (len(u), 1, u.shape[2]))
            u = np.concatenate([first, u], axis=1)
        length, width = u.shape[1:]
        if self.config.positions == "learned":
            u = u + self.values["embed/positions/embedding"][:length]
        else:
            angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
            u[..., 0::2] += np.sin(angles)
            u[..., 1::2] += np.cos(angles)
        u = self.hook("after_embedding", u)
        for layer in range(self.config.layers):
            u = self.block(u, layer)
        u = self.norm("norm", u) if self.config.norm == "pre" else u
        return self.linear("head", u[:, 0] if self.config.pooling == "cls" else u.mean(axis=1))
