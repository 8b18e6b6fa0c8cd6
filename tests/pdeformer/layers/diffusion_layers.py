"""The diffusion layers and controls of the tests, and their outputs in NumPy from the equations of their docstrings.

D channels, T tokens
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pdeformer.layers import AdaptiveStencil, CanonLayer, HeatLayer, MultiScaleStencil, TokenShift

CHANNELS = 3
LAYERS = {
    "heat": lambda: HeatLayer(0.25, steps=2),
    "heat learned": lambda: HeatLayer(0.3, learned=True),
    "adaptive 3": lambda: AdaptiveStencil(CHANNELS),
    "adaptive 7": lambda: AdaptiveStencil(CHANNELS, width=7),
    "input adaptive": lambda: AdaptiveStencil(CHANNELS, width=5, input_adaptive=True),
    "free": lambda: AdaptiveStencil(CHANNELS, width=5, free=True),
    "multiscale": lambda: MultiScaleStencil(CHANNELS, dilations=(1, 2, 5)),
    "gated": lambda: MultiScaleStencil(CHANNELS, dilations=(1, 2, 4), gated=True),
    "canon": lambda: CanonLayer(CHANNELS),
    "shift": lambda: TokenShift(CHANNELS, alpha=0.3),
    "shift both ways": lambda: TokenShift(CHANNELS, bidirectional=True),
}
CONTROLS = ("free", "canon", "shift", "shift both ways")  # without a stability bound
STABLE = [name for name in LAYERS if name not in CONTROLS]
LINEAR = [name for name in STABLE if name not in ("input adaptive", "gated")]
CAUSAL = [name for name in LAYERS if name not in ("free", "gated", "shift both ways")]
PATTERNS = {
    "right padding": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "left padding": [0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4],
    "packed": [1, 1, 1, 1, 2, 2, 2, 2, 2, 9, 9],
    "hole": [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0],
    "padding alone": [0] * 11,
    "no padding": [1] * 11,
}
SEGMENTS = jnp.asarray(list(PATTERNS.values()), jnp.int32)  # one row of a batch per pattern
VALID = SEGMENTS[..., None] > 0


def states(batch=6, length=11, seed=0, dtype=None):
    """Draw normal hidden states (batch, length, CHANNELS)."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, length, CHANNELS)), dtype)


@partial(jax.jit, static_argnums=0, static_argnames="causal")
def run(graphdef, params, u, segment_ids=None, *, causal=False):
    return nnx.merge(graphdef, params)(u, segment_ids, causal=causal)


def apply(layer, u, segment_ids=None, *, causal=False):
    """Apply the layer, compiled once per structure and shape."""
    return run(*nnx.split(layer), u, segment_ids, causal=causal)


def randomized(layer, scale=1.0, seed=0):
    """Replace every parameter of the layer by normal random numbers of this scale."""
    graphdef, params = nnx.split(layer)
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype), params)
    )


def extreme(layer, seed):
    """Set every parameter of the layer to -1e4, 0 or 1e4."""
    graphdef, params = nnx.split(layer)
    rng = np.random.default_rng(seed)

    def draw(x):
        return jnp.asarray(rng.choice([-1e4, 0.0, 1e4], size=x.shape), x.dtype)

    return nnx.merge(graphdef, jax.tree.map(draw, params))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def softmax(x):
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(axis=0)


def in_one_run(ids, i, j):
    """Return whether tokens i < j are in one run: all tokens from i to j have the same positive id."""
    return i >= 0 and j < len(ids) and ids[i] > 0 and all(ids[k] == ids[i] for k in range(i, j + 1))


def dense(weight, offsets, ids, *, causal=False):
    """Return the matrix of u + Σ_k w_k L^(k) u; weight(n, i, j) is that of the edge i < j of the n-th offset."""
    matrix = np.eye(len(ids))
    for n, k in enumerate(offsets):
        for i in range(len(ids) - k):
            if in_one_run(ids, i, i + k):
                w = weight(n, i, i + k)
                matrix[i + k, i] += w
                matrix[i + k, i + k] -= w
                if not causal:
                    matrix[i, i + k] += w
                    matrix[i, i] -= w
    return matrix


def standardized(u):
    centered = u - u.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6)


def numpy_layer(layer, u, ids, *, causal=False):
    """Return the output of the layer for one row in float64, from the equations of its docstring."""
    u = np.asarray(u, np.float64)
    out = np.empty_like(u)
    for c in range(u.shape[1]):
        if isinstance(layer, HeatLayer):
            matrix = dense(lambda n, i, j: float(layer.alpha), [1], ids, causal=causal)
            matrix = np.linalg.matrix_power(matrix, layer.steps)
        elif isinstance(layer, CanonLayer):
            matrix = canon_matrix(np.asarray(layer.weights[...], np.float64)[:, c], ids)
        elif isinstance(layer, TokenShift):
            side = 1 if layer.bidirectional and c >= (u.shape[1] + 1) // 2 else -1
            matrix = shift_matrix(float(layer.fraction[...][c]), side, ids)
        elif isinstance(layer, AdaptiveStencil) and layer.free:
            matrix = unconstrained_matrix(np.asarray(layer.kernel[...], np.float64)[:, c], ids)
        elif isinstance(layer, AdaptiveStencil):
            gate = np.zeros(u.shape[1]) if layer.gate is None else np.asarray(layer.gate[...])
            rate = sigmoid(float(layer.rate[...][c]) + standardized(u) @ gate) / 2
            share = softmax(layer.share[...])[:, c]
            offsets = range(1, layer.radius + 1)
            weight = lambda n, i, j: (rate[i] + rate[j]) / 2 * share[n]  # noqa: B023, E731  used in this iteration only
            matrix = dense(weight, offsets, ids, causal=causal)
        else:
            weights = multiscale_weights(layer, u, ids, c)
            matrix = dense(lambda n, i, j: weights[i][n], layer.dilations, ids, causal=causal)  # noqa: B023  used in this iteration only
        out[:, c] = matrix @ u[:, c]
    return out


def multiscale_weights(layer, u, ids, c):
    """Return the S weights α of every token, computed token by token."""
    parameters = np.asarray(layer.weights[...], np.float64)
    weights = []
    for j in range(len(ids)):
        logits = parameters[:, c] if layer.gate is None else parameters
        if layer.gate is not None:
            pooled = standardized(u)[np.asarray(ids) == ids[j]].mean(axis=0)
            logits = logits + pooled @ np.asarray(layer.gate[...], np.float64)
        weights.append(sigmoid(logits[0]) / 2 * softmax(logits[1:]))
    return weights


def unconstrained_matrix(kernel, ids):
    """Return the matrix of the unconstrained depthwise kernel, where u_j replaces a neighbor beyond the run."""
    radius = len(kernel) // 2
    matrix = np.eye(len(ids))
    for j in range(len(ids)):
        for k in range(-radius, radius + 1):
            inside = in_one_run(ids, min(j, j + k), max(j, j + k))
            if ids[j] > 0:
                matrix[j, j + k if inside else j] += kernel[radius + k]
    return matrix


def canon_matrix(weights, ids):
    """Return the matrix of u_t + Σ_k w_k u_{t-k}, with 0 in place of a token beyond the run."""
    matrix = np.eye(len(ids))
    for t in range(len(ids)):
        for k, weight in enumerate(weights):
            if in_one_run(ids, t - k, t):
                matrix[t, t - k] += weight
    return matrix


def shift_matrix(fraction, side, ids):
    """Return the matrix of u_t + μ (u_{t+side} - u_t), where the end of a run stays as it is."""
    matrix = np.eye(len(ids))
    for t in range(len(ids)):
        if in_one_run(ids, min(t, t + side), max(t, t + side)):
            matrix[t, t] -= fraction
            matrix[t, t + side] += fraction
    return matrix


def forms(name):
    """Return the values of `causal` with which a layer can be called."""
    return (False, True) if name in CAUSAL else (False,)
