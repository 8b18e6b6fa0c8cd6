"""The bijections of all variables together: their latents, marginals and bases, and the likelihood of rows.

Variables of equal width are stacked and run through one program, which shortens compilation.

    n rows
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pid.flow import likelihood
from pid.flow.bijection import Bijection, fit_marginals, forward
from pid.flow.config import Pairs, Rows
from pid.flow.likelihood import Base, VariableLatents

Bijections = tuple[Bijection, ...]


class FlowLatents(NamedTuple):
    """Latents of the three variables."""

    target: Float[Array, "*b n m"]
    """Latents of the target; of the target as paired with x, if there is one map per pair."""

    x: Float[Array, "*b n dx"]
    """Latents of x."""

    y: Float[Array, "*b n dy"]
    """Latents of y."""

    target_y: Float[Array, "*b n m"] | None = None
    """Latents of the target as paired with y, if there is one map per pair; else None."""


class Model(NamedTuple):
    """Bijections and the base distributions of their pairs, fitted to the same rows."""

    bijections: Bijections
    bases: tuple[Base, ...]


def map_stacked(f: Callable, *arguments: tuple, over: Callable = jax.vmap) -> tuple:
    """Return (f(a_0, b_0, ...), f(a_1, b_1, ...), ...); calls of equal shapes are stacked and mapped by `over`."""
    calls = list(zip(*arguments, strict=True))
    groups: dict[Any, list[int]] = {}
    for i, call in enumerate(calls):
        groups.setdefault(tuple(leaf.shape for leaf in jax.tree.leaves(call)), []).append(i)
    results: dict[int, Any] = {}
    for members in groups.values():
        stack = jax.tree.map(lambda *a: jnp.stack(a), *(calls[i] for i in members))
        outputs = over(lambda call: f(*call))(stack)
        for position, i in enumerate(members):
            results[i] = jax.tree.map(lambda a, position=position: a[position], outputs)
    return tuple(results[i] for i in range(len(calls)))


def one_by_one(f: Callable) -> Callable:
    """Return `jax.lax.map` of f in the form of `jax.vmap`, for functions that call LAPACK more than once."""
    return lambda stack: jax.lax.map(f, stack)


def transform(bijections: Bijections, rows: Rows, tail_bound: float) -> tuple[VariableLatents, ...]:
    """Return the latents of every variable."""
    return map_stacked(lambda b, v: VariableLatents(*forward(b, v, tail_bound)), bijections, rows)


def fit_all_marginals(bijections: Bijections, rows: Rows) -> Bijections:
    """Return the bijections with the marginal splines fitted to `rows`."""
    return map_stacked(fit_marginals, bijections, rows)


def fit_and_score(
    bijections: Bijections, rows: Rows, test: Rows, pairs: Pairs, tail_bound: float
) -> tuple[Model, Float[Array, " r"]]:
    """Fit the bases to `rows`, and return the model and ℓ of the r test rows, in nats.

    All rows go through the bijections at once.
    """
    n = rows[0].shape[0]
    all_rows = tuple(jnp.concatenate(parts) for parts in zip(rows, test, strict=True))
    latents = transform(bijections, all_rows, tail_bound)
    train_latents, test_latents = (
        tuple(VariableLatents(v.values[index], v.log_det[index]) for v in latents)
        for index in (slice(n), slice(n, None))
    )
    model = Model(bijections, likelihood.fit_bases(train_latents, pairs))
    return model, likelihood.log_likelihood(test_latents, model.bases, pairs)


def log_likelihood(model: Model, rows: Rows, pairs: Pairs, tail_bound: float) -> Float[Array, " n"]:
    """Compute ℓ of each row, in nats."""
    return likelihood.log_likelihood(transform(model.bijections, rows, tail_bound), model.bases, pairs)
