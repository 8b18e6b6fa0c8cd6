"""The official layer in NumPy, one value at a time, and the cases that its tests share."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pdeformer import cta

GOLDEN = Path(__file__).parent.parent.parent / "golden"
LAYERS = np.load(GOLDEN / "cta_layers_visible.npz")
CASES = json.loads(str(LAYERS["meta"]))
CLASSIFIER = np.load(GOLDEN / "cta_classifier_visible.npz")
STATE = {name: CLASSIFIER[name] for name in CLASSIFIER if "." in name or name == "pos_encoder"}
INITIAL = {  # alpha, beta
    "diffusion": (0.10, None),
    "wave": (0.15, None),
    "reaction-diffusion": (0.10, 0.02),
    "advection-diffusion": (0.10, 0.03),
}
KINDS = list(INITIAL)
MASKS = np.asarray(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1, 1, 1, 1, 0, 1],
        [1, 1, 0, 1, 1, 0, 1, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
)

run = jax.jit(cta.refine, static_argnames=("kind", "steps", "causal"))
refine = partial(run, mask=None)


def initial(kind):
    return dict(zip(("alpha", "beta"), INITIAL[kind], strict=True))


def states(batch=6, length=10, channels=3, seed=0, dtype=None):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, length, channels)), dtype)


def row(values):
    """Return one channel of one row as an array (1, L, 1)."""
    return jnp.asarray(values)[None, :, None]


def numpy_refine(x, kind, alpha, beta, *, causal=False, mask=None):
    """Refine hidden states one value at a time, with one alpha and beta per step."""
    x = np.array(x, np.float64)
    valid = np.ones(x.shape[:2]) if mask is None else mask
    first, last = (2, x.shape[1]) if causal else (1, x.shape[1] - 1)
    for step, a in enumerate(alpha):
        old = x.copy()
        for b, i, d in np.ndindex(x.shape):
            triple = (i - 2, i - 1, i) if causal else (i - 1, i, i + 1)
            if not first <= i < last or not all(valid[b, j] for j in triple):
                continue
            left, center, right = (old[b, j, d] for j in triple)
            u, curvature = old[b, i, d], right - 2 * center + left
            x[b, i, d] += {"wave": a * a * curvature}.get(kind, a * curvature)
            if kind == "reaction-diffusion":
                x[b, i, d] += beta[step] * u * (1 - 1 / (1 + np.exp(-u)))
            if kind == "advection-diffusion":
                x[b, i, d] += beta[step] * (right - center if causal else (right - left) / 2)
    return x
