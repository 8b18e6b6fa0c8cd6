"""Attention and the integrators against plain implementations of the same operation."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp

from experiments.bench.config import Config
from experiments.bench.timing import Row, paired
from pdeformer import AdvectionDiffusion, Diffusion, evolve
from pdeformer.attention import dot_product_attention


def attention_rows(config: Config) -> Iterator[Row]:
    """Time our attention against `jax.nn.dot_product_attention` with the same mask, forward and backward."""
    size = config.attention
    shape = (size.batch, size.tokens, size.heads, size.width)
    arrays = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 4)]
    position = jnp.arange(size.tokens)
    padding = jnp.where(position < 0.9 * size.tokens, 1, 0)
    packed = 1 + 4 * position // size.tokens
    cases = (
        ("plain", False, None),
        ("causal", True, None),
        ("1/10 padding", False, padding),
        ("4 segments", False, packed),
    )
    for name, is_causal, ids in cases:
        if ids is not None:
            ids = jnp.broadcast_to(ids.astype(jnp.int32), shape[:2])
        for direction, program in (("forward", _forward), ("fwd + bwd", _forward_backward)):
            ours, theirs = (
                partial(program, partial(dot_product_attention, is_causal=is_causal, method=method))
                for method in ("auto", "xla")
            )
            yield Row(
                f"{name}, {direction}",
                paired(ours, theirs, *arrays, ids, pairs=config.pairs, seconds=config.seconds),
            )


def _forward(attend: Callable, query, key, value, weight, ids):
    del weight  # only the backward pass needs the cotangent
    return attend(query, key, value, segment_ids=ids)


def _forward_backward(attend: Callable, query, key, value, weight, ids):
    output, pull = jax.vjp(partial(attend, segment_ids=ids), query, key, value)
    return output, pull(weight)


def _state(config: Config) -> jax.Array:
    size = config.state
    return jax.random.normal(jax.random.key(0), (size.batch, size.tokens, size.channels))


def taps_rows(config: Config) -> Iterator[Row]:
    """Time n heat steps in one pass against a scan of them: constant and traced coefficient, and segments."""
    u, alpha = _state(config), jnp.float32(0.2)
    for steps in (4, 8):
        taps, scan = (partial(evolve, steps=steps, method=method) for method in ("auto", "scan"))
        constant = paired(
            lambda u, taps=taps: taps(u, Diffusion(0.2)),
            lambda u, scan=scan: scan(u, Diffusion(0.2)),
            u,
            pairs=config.pairs,
            seconds=config.seconds,
        )
        yield Row(f"{steps} steps, constant", constant)
        traced = paired(
            lambda u, a, taps=taps: taps(u, Diffusion(a)),
            lambda u, a, scan=scan: scan(u, Diffusion(a)),
            u,
            alpha,
            pairs=config.pairs,
            seconds=config.seconds,
        )
        yield Row(f"{steps} steps, traced", traced)
    ids = jnp.broadcast_to(1 + 4 * jnp.arange(u.shape[1]) // u.shape[1], u.shape[:2])
    segments = (
        lambda u, ids, method=method: evolve(u, Diffusion(0.2), steps=8, segment_ids=ids, method=method)
        for method in ("auto", "scan")
    )
    yield Row("8 steps, 4 segments", paired(*segments, u, ids, pairs=config.pairs, seconds=config.seconds))


def backward_rows(config: Config) -> Iterator[Row]:
    """Time gradients with respect to state and coefficients: our rules against autodiff through a scan of steps."""
    u = _state(config)[:1]
    equations = {"diffusion": Diffusion(0.2), "advection": AdvectionDiffusion(0.1, 0.3)}
    for name, pde in equations.items():
        pde = jax.tree.map(jnp.float32, pde)
        for steps in (4, 32):

            def ours(pde, u, steps=steps):
                return jnp.sum(evolve(u, pde, steps=steps) ** 2)

            def plain(pde, u, steps=steps):
                return jnp.sum(jax.lax.scan(lambda x, _: (pde.step(x), None), u, length=steps)[0] ** 2)

            gradients = (jax.grad(f, (0, 1)) for f in (ours, plain))
            yield Row(
                f"{name}, {steps} steps",
                paired(*gradients, pde, u, pairs=config.pairs, seconds=config.seconds),
            )
