"""A forward pass of the Transformer in NumPy, and the configurations that the tests of models share."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pdeformer import stencil
from pdeformer.attention.plain.performer import draw_projection
from pdeformer.layers import StencilConfig
from pdeformer.model import PLACEMENTS, ModelConfig
from pdeformer.model.mixers import FEATURE_SEED

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
        prefix = "" if place in ("after_embedding", "positions_only") else "blocks/stencils/"
        alpha = 0.5 / (1 + np.exp(-self.values[f"{prefix}{place}/rate"][layer]))
        return u + alpha * stencil.laplacian_matrix(u.shape[1]) @ u

    def attention(self, u, layer):
        if self.config.mixer == "lru":
            return self.recurrence(u, layer)
        batch, length, heads = *u.shape[:2], self.config.heads
        query, key, value = (
            self.hook("in_attention", self.linear(f"blocks/attention/{name}", u, layer), layer).reshape(
                batch, length, heads, -1
            )
            for name in ("query", "key", "value")
        )
        if self.config.positions == "rotary":
            query, key = rotated(query), rotated(key)
        scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
        if self.config.mixer == "performer":
            scores = random_feature_scores(query, key, self.config.feature_count)
        distance = np.abs(np.arange(length)[:, None] - np.arange(length))
        if self.config.positions == "alibi":
            scores = scores - 2.0 ** (-8 * np.arange(1, heads + 1) / heads)[:, None, None] * distance
        if self.config.window is not None:
            scores = np.where(distance <= self.config.window, scores, -np.inf)
        if self.causal:
            scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        output = np.einsum("bnts,bsnh->btnh", weights, value).reshape(batch, length, -1)
        return self.linear("blocks/attention/out", output, layer)

    def recurrence(self, u, layer):
        """Run the recurrence of the block, and its mirror image unless the model is causal."""
        parts = {
            name.rsplit("/", 1)[1]: value[layer]
            for name, value in self.values.items()
            if "recurrence" in name
        }
        decay = np.exp(-np.exp(parts["log_rate"]) + 1j * np.exp(parts["log_phase"]))
        inputs = u @ (parts["input"][:, 0] + 1j * parts["input"][:, 1]) * np.exp(parts["log_gain"])
        y = parts["skip"] * u
        for output, order in zip(parts["output"], (1, -1), strict=False):
            state, states = np.zeros_like(inputs[:, 0]), np.empty_like(inputs)
            for t in range(u.shape[1])[::order]:
                state = states[:, t] = decay * state + inputs[:, t]
            y = y + (states @ (output[0] - 1j * output[1])).real
        return y

    def ffn(self, u, layer):
        hidden = self.hook("in_ffn", self.linear("blocks/ffn/up", u, layer), layer)
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

    def code(self, length, width):
        if self.config.positions == "learned":
            return self.values["embed/positions/embedding"][:length]
        code = np.zeros((length, width))
        if self.config.positions == "sinusoidal":
            angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
            code[:, 0::2], code[:, 1::2] = np.sin(angles), np.cos(angles)
        return code

    def __call__(self, tokens):
        u = self.values["embed/tokens/embedding"][np.asarray(tokens)]
        if self.config.pooling == "cls":
            first = np.broadcast_to(self.values["embed/cls/embedding"], (len(u), 1, u.shape[2]))
            u = np.concatenate([first, u], axis=1)
        u = u + self.hook("positions_only", self.code(*u.shape[1:])[None])
        u = self.hook("after_embedding", u)
        for layer in range(self.config.layers):
            u = self.block(u, layer)
        u = self.norm("norm", u) if self.config.norm == "pre" else u
        return self.linear("head", u[:, 0] if self.config.pooling == "cls" else u.mean(axis=1))


def rotated(x):
    """Multiply the complex numbers x[2i] + i x[2i+1] of every token by exp(i t / 10000^(2i/H))."""
    length, width = x.shape[1], x.shape[3]
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def random_feature_scores(query, key, count):
    """Return log φ(q)·φ(k) with φ(x) = exp(ωx - |x|²/2) / √m, where the root of the scale multiplies x."""
    omega = np.asarray(draw_projection(jax.random.key(FEATURE_SEED), count, query.shape[-1], jnp.float32))

    def features(x):
        x = x / query.shape[-1] ** 0.25
        return np.exp(x @ omega.T - (x**2).sum(-1, keepdims=True) / 2) / np.sqrt(count)

    return np.log(np.einsum("btnf,bsnf->bnts", features(query), features(key)))
