"""Forward mode: tangents and Hessians of attention and evolution against finite differences and reverse mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, ReactionDiffusion, evolve
from pdeformer.attention import dot_product_attention
from tests.pdeformer.attention.evolved_attention import PDES, draw, pde_attention

IDS = jnp.asarray([[1, 1, 2, 2, 2, 0]])


def arrays(seed=0):
    return draw(length=6, batch=1, heads=2, kv_heads=1, width=3, seed=seed)[:3]


def plain(**options):
    return lambda *x: dot_product_attention(*x, **options)


def evolved(name, **options):
    return lambda *x: pde_attention(*x, PDES[name], steps=2, **options)


FUNCTIONS = {
    "plain causal": plain(is_causal=True),
    "plain with dropout": plain(dropout=0.4, dropout_key=jax.random.key(1), segment_ids=IDS),
    "causal fold": evolved("advection", is_causal=True),
    "materialized": evolved("wave", method="materialized"),
    "tiled reaction": evolved("reaction", segment_ids=IDS),
}


def close(a, b, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=tolerance), a, b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tangents_are_central_differences_and_agree_with_reverse_mode(name, x64):
    function, x, direction = jax.jit(FUNCTIONS[name]), arrays(), arrays(seed=1)
    tangent = jax.jit(lambda x, d: jax.jvp(function, x, d)[1])(x, direction)
    step = 1e-5
    ends = [function(*(a + sign * step * d for a, d in zip(x, direction, strict=True))) for sign in (1, -1)]
    close(tangent, (ends[0] - ends[1]) / (2 * step), 1e-8)
    weight = jnp.cos(jnp.arange(float(tangent.size))).reshape(tangent.shape)
    gradients = jax.jit(lambda x: jax.grad(lambda x: jnp.sum(weight * function(*x)))(x))(x)
    pairing = sum(jnp.vdot(g, d) for g, d in zip(gradients, direction, strict=True))
    close(jnp.vdot(weight, tangent), pairing, 1e-11)


def test_hessians_of_attention_agree_in_all_orders_of_the_modes(x64):
    query, key, value = arrays()

    def loss(query):
        return jnp.sum(jnp.sin(dot_product_attention(query, key, value, is_causal=True)))

    forward_reverse, forward_forward, reverse_reverse = (
        jax.jit(outer(inner(loss)))(query[:, :2])
        for outer, inner in ((jax.jacfwd, jax.jacrev), (jax.jacfwd, jax.jacfwd), (jax.jacrev, jax.jacrev))
    )
    close(forward_reverse, reverse_reverse, 1e-11)
    close(forward_forward, reverse_reverse, 1e-11)
    close(jax.hessian(loss)(query[:, :2]), reverse_reverse, 1e-11)


@pytest.mark.parametrize("pde", [Diffusion(0.2), ReactionDiffusion(0.2, 0.3)])
def test_jacobians_of_an_evolution_agree_in_both_modes(pde, x64):
    u = jnp.linspace(0.1, 0.9, 7)[:, None]
    forward, reverse = (jac(lambda u: evolve(u, pde, steps=3))(u) for jac in (jax.jacfwd, jax.jacrev))
    close(forward, reverse, 1e-12)


def test_a_linearized_attention_is_its_tangent_also_under_vmap(x64):
    x, direction = arrays(), arrays(seed=1)
    function = FUNCTIONS["plain causal"]
    output, linear = jax.linearize(function, *x)
    close(linear(*direction), jax.jvp(function, x, direction)[1], 1e-12)
    stacked = [jnp.stack([d, 2 * d]) for d in direction]
    close(jax.vmap(linear)(*stacked)[1], 2 * linear(*direction), 1e-12)
    batched = [jnp.stack([a, a + 1]) for a in x]
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(jax.vmap(function)(*x))))(batched)
    alone = jax.grad(lambda x: jnp.sum(jnp.sin(function(*x))))([a + 1 for a in x])
    close([g[1] for g in gradient], alone, 1e-11)
