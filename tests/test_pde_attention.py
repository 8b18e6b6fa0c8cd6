"""Evolved attention: every method is the NumPy definition, values and gradients; rows are causal; the laws hold."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.attention import pde_attention, pde_attention_weights, serving
from tests import oracle

FLOAT32, FLOAT64 = 3e-5, 1e-11
PACKED = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 3, 3, 1, 1], [1] * 4 + [0] * 2 + [1] * 5 + [0] * 3])
PDES = {
    "diffusion": Diffusion(0.3),
    "wave": Wave(0.7),
    "advection": AdvectionDiffusion(0.2, 0.4),
    "back": AdvectionDiffusion(0.1, -0.6),
    "reaction": ReactionDiffusion(0.3, 0.8),
    "sharpen": ReactionDiffusion(0.2, -1.1),
    "allen_cahn": ReactionDiffusion(0.25, 0.6, "allen_cahn"),
}
LINEAR = ("diffusion", "wave", "advection", "back")
KIND = {"back": "advection", "sharpen": "reaction", "allen_cahn": "reaction"}


def draw(length=14, keys=None, batch=2, heads=2, kv_heads=2, width=5, dtype=jnp.float64, seed=0):
    shapes = (length, heads), (keys or length, kv_heads), (keys or length, kv_heads), (length, heads)
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(1.5 * rng.normal(size=(batch, t, n, width)), dtype) for t, n in shapes)


def expected_weights(query, key, name, pde, steps, heads, dt=1.0, *, renormalize=None, **options):
    values = {
        k: np.broadcast_to(np.asarray(v, np.float64) * dt, (steps, heads))
        for k, v in pde.coefficients().items()
    }
    coefficients = [[{k: v[i, n] for k, v in values.items()} for i in range(steps)] for n in range(heads)]
    kind = KIND.get(name, name)
    if renormalize is None:
        renormalize = kind == "reaction" and options.get("target", "weights") == "weights"
    reaction = getattr(pde, "reaction", "fisher")
    return oracle.attention_weights(
        query, key, kind, coefficients, renormalize=renormalize, reaction=reaction, **options
    )


def apply(weights, value):
    value = np.repeat(np.asarray(value, np.float64), weights.shape[1] // value.shape[2], axis=2)
    return np.einsum("bnts,bsnh->btnh", weights, value)


def close(actual, expected, tolerance):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=tolerance, atol=tolerance)


def combinations():
    """Every combination with a meaning: (equation, target, axis, causal, segments, window, order)."""
    for name, pde in PDES.items():
        reacts = isinstance(pde, ReactionDiffusion)
        for target in ("weights", "logits"):
            if target == "logits" and reacts and name != "allen_cahn":
                continue
            for axis in ("key",) if reacts else ("key", "query", "both"):
                for causal in (False, True) if (target, axis) == ("weights", "key") else (False,):
                    for segments in (False, True):
                        for window in (None, 3):
                            for order in ("strang", "euler", "reaction_first") if reacts else ("strang",):
                                yield name, target, axis, causal, segments, window, order


COMBINATIONS = list(combinations())


@pytest.mark.parametrize(("name", "target", "axis", "causal", "segments", "window", "order"), COMBINATIONS)
def test_every_method_is_the_definition(name, target, axis, causal, segments, window, order, x64):
    query, key, value, weight = draw()
    pde, steps = PDES[name], 1 if order == "euler" else 3
    ids = PACKED if segments else None
    options = dict(target=target, axis=axis, segment_ids=ids, is_causal=causal, window=window, order=order)
    weights = expected_weights(query, key, name, pde, steps, 2, **options)
    close(pde_attention_weights(query, key, pde, steps=steps, **options), weights, FLOAT64)
    expected = apply(weights, value)

    def loss(method, *arrays):
        return (pde_attention(*arrays, steps=steps, method=method, **options) * weight).sum()

    methods = serving.methods(pde, steps=steps, target=target, axis=axis, order=order)
    gradients = {}
    for method in methods:
        output = pde_attention(query, key, value, pde, steps=steps, method=method, **options)
        close(output, expected, FLOAT64)
        gradients[method] = jax.jit(jax.grad(partial(loss, method), (0, 1, 2, 3)))(query, key, value, pde)
    for method in methods[:-1]:
        jax.tree.map(lambda a, b: close(a, b, FLOAT64), gradients[method], gradients["materialized"])
