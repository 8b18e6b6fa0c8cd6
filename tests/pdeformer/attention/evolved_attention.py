"""Helpers for evolved attention: equations, random inputs, NumPy weights, compiled outputs and gradients."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, attention
from tests.helpers import oracle

# the tests pass options as dictionaries, which a type checker cannot match with keywords
pde_attention: Any = attention.pde_attention


FLOAT32, FLOAT64 = 3e-5, 1e-11
PACKED = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 3, 3, 1, 1], [1] * 4 + [0] * 2 + [1] * 5 + [0] * 3])
PDES = {
    "diffusion": Diffusion(0.3),
    "wave": Wave(0.7),
    "advection": AdvectionDiffusion(0.2, 0.4),
    "back": AdvectionDiffusion(0.1, -0.6),
    "reaction": ReactionDiffusion(0.3, 0.8),
    "sharpen": ReactionDiffusion(0.2, -0.25),
    "allen_cahn": ReactionDiffusion(0.25, 0.6, "allen_cahn"),
}
LINEAR = ("diffusion", "wave", "advection", "back")
KIND = {"back": "advection", "sharpen": "reaction", "allen_cahn": "reaction"}


def draw(length=14, keys=None, batch=2, heads=2, kv_heads=2, width=5, dtype=jnp.float64, seed=0):
    shapes = (length, heads), (keys or length, kv_heads), (keys or length, kv_heads), (length, heads)
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(1.5 * rng.normal(size=(batch, t, n, width)), dtype) for t, n in shapes)


def expected_weights(arrays, name, pde, steps, heads, dt: Any = 1.0, *, renormalize=None, **options: Any):
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
        arrays[0], arrays[1], kind, coefficients, renormalize=renormalize, reaction=reaction, **options
    )


def apply(weights, value):
    value = np.repeat(np.asarray(value, np.float64), weights.shape[1] // value.shape[2], axis=2)
    return np.einsum("bnts,bsnh->btnh", weights, value)


def close(actual, expected, tolerance):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=tolerance, atol=tolerance)


@partial(
    jax.jit, static_argnames=("method", "steps", "target", "axis", "is_causal", "window", "order", "base")
)
def output_and_gradients(arrays, pde, weight, segment_ids=None, feature_key=None, **options):
    """Return the output of one method, and the gradients of <weight, output> in arrays and coefficients."""
    features = None if feature_key is None else 6

    def run(query, key, value, pde):
        return pde_attention(
            query,
            key,
            value,
            pde,
            segment_ids=segment_ids,
            features=features,
            feature_key=feature_key,
            **options,
        )

    output, pullback = jax.vjp(run, *arrays, pde)
    return output, pullback(weight)


def combinations():
    """Yield every combination with a meaning: (equation, target, axis, causal, segments, window, order)."""
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
