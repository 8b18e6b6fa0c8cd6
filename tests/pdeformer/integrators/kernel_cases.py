"""Calls of the kernels of `evolve` in the interpreter of Pallas, and the same by explicit steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeformer import Diffusion, evolve, stencil
from pdeformer.integrators.propagator import propagate


def random_ids(rng, batch, length):
    """Return packed rows with holes, and runs shorter than a stencil."""
    sizes = rng.integers(1, 40, size=(batch, length))
    return np.stack([np.repeat(rng.integers(0, 3, size=length), row)[:length] for row in sizes])


def by_kernel(platform, u, alpha, ids, steps, *, causal=False):
    """Evolve `u` by the kernel of a platform, interpreted."""
    pde: Any = Diffusion(alpha).scaled_widely(1.0).cast(jnp.float32, u.ndim)
    graph = stencil.path(u.shape[-2], ids, "neumann", ndim=u.ndim)
    name = f"{'causal ' if causal else ''}kernel {platform} interpreted"
    return propagate(pde, u, graph, steps=steps, method=name)


def by_scan(u, alpha, ids, steps, *, causal=False):
    """Evolve `u` by explicit steps in float32."""
    u = u.astype(jnp.float32)
    return evolve(u, Diffusion(alpha), steps=steps, segment_ids=ids, causal=causal, method="scan")


def value_and_gradients(function, u, alpha, cotangent):
    """Return y, ū and ᾱ in float32."""

    @jax.jit
    def run(u, alpha):
        y, pull = jax.vjp(function, u, alpha)
        return y, *pull(cotangent.astype(y.dtype))

    return [np.asarray(x, np.float32) for x in run(u, alpha)]
