"""Several bijections as one: the latents of all variables, fitted marginals and Gaussians, likelihood of rows.

Variables of equal width are stacked and run through one program, which makes compilation that much shorter.

    n rows
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pid.flow import likelihood
from pid.flow.bijection import Bijection, calibrate, forward
from pid.flow.likelihood import Base, Latents, Pairs

Rows = tuple[Array, ...]  # one array (n, d) per bijection
Bijections = tuple[Bijection, ...]


class Model(NamedTuple):
    """Bijections and the Gaussians of their pairs, fitted to the same rows."""

    bijections: Bijections
    bases: tuple[Base, ...]


def each(f: Callable, *arguments: tuple, over: Callable = jax.vmap) -> tuple:
    """(f(a_0, b_0, ...), f(a_1, b_1, ...), ...), those of equal shapes in one stack through `over`."""
    calls = list(zip(*arguments, strict=True))
    groups: dict[Any, list[int]] = {}
    for i, call in enumerate(calls):
        groups.setdefault(tuple(leaf.shape for leaf in jax.tree.leaves(call)), []).append(i)
    results: dict[int, Any] = {}
    for members in groups.values():
        stack = jax.tree.map(lambda *a: jnp.stack(a), *(calls[i] for i in members))
        done = over(lambda call: f(*call))(stack)
        for place, i in enumerate(members):
            results[i] = jax.tree.map(lambda a, place=place: a[place], done)
    return tuple(results[i] for i in range(len(calls)))


def one_by_one(f: Callable) -> Callable:
    """`jax.lax.map` in the form of `jax.vmap`: for what calls LAPACK more than once."""
    return lambda stack: jax.lax.map(f, stack)


def image(bijections: Bijections, rows: Rows, reach: float) -> tuple[Latents, ...]:
    """Every variable's latents."""
    return each(lambda b, v: Latents(*forward(b, v, reach)), bijections, rows)


def calibrated(bijections: Bijections, rows: Rows) -> Bijections:
    """The same bijections with the marginal splines fitted to `rows`."""
    return each(calibrate, bijections, rows)


def with_likelihood(
    bijections: Bijections, rows: Rows, judged: Rows, pairs: Pairs, reach: float
) -> tuple[Model, Float[Array, " r"]]:
    """The bijections with the Gaussians of their pairs that fit `rows` best, and ℓ of the r judged rows, in nats.

    All rows go through the bijections at once.
    """
    n = rows[0].shape[0]
    together = tuple(jnp.concatenate(both) for both in zip(rows, judged, strict=True))
    latents = image(bijections, together, reach)
    fitted, others = (
        tuple(Latents(one.values[part], one.log_det[part]) for one in latents)
        for part in (slice(n), slice(n, None))
    )
    model = Model(bijections, likelihood.bases(fitted, pairs))
    return model, likelihood.log_likelihood(others, model.bases, pairs)


def log_likelihood(model: Model, rows: Rows, pairs: Pairs, reach: float) -> Float[Array, " n"]:
    """ℓ of each row, in nats."""
    return likelihood.log_likelihood(image(model.bijections, rows, reach), model.bases, pairs)
