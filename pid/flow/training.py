"""One training, from rows to models, as a single program: initial directions, optimization, early stopping.

directions   W of each variable is the identity or independent directions, chosen by the likelihood of validation rows
optimize     the mixes alone first, then mixes and couplings from the best mixes, at a learning rate of their own.
             Couplings that are trained from the start on a few hundred rows overfit before the mixes have converged
             (measured: -29 against -27 nats)
step         Adam on the profiled likelihood of a batch. The marginal splines are refitted to the batch, without
             gradient: they are at their own optimum, so by the envelope theorem the missing term is small
validate     the likelihood of the validation rows, before the first round and after every round; the best
             parameters are kept

n training rows, r test rows, R rounds
"""

from math import log
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from pid.flow import likelihood
from pid.flow.bijection import (
    Bijection,
    Params,
    fit_marginals,
    forward,
    init_bijection,
    init_params,
    without_couplings,
)
from pid.flow.config import FlowConfig, Pairs, Rows
from pid.flow.ica import independent_directions
from pid.flow.likelihood import VariableLatents
from pid.flow.model import (
    Bijections,
    Model,
    fit_all_marginals,
    fit_and_score,
    map_stacked,
    one_by_one,
    transform,
)

KINDS = ("gaussian", "copula", "flow")  # the models of a training, on a leading axis


class HeldOutScores(NamedTuple):
    """Mean log-likelihood per row, in bits, of rows outside the fit; only differences have meaning."""

    gaussian: Float[Array, "*b"]
    """Score of the standardized variables."""

    copula: Float[Array, "*b"]
    """Score of the Gaussian copula."""

    flow: Float[Array, "*b"]
    """Score of the flow."""

    gain: Float[Array, "*b"]
    """flow - copula."""

    gain_error: Float[Array, "*b"]
    """Standard error of the gain."""


class TrainingData(NamedTuple):
    """The configuration of a training and the rows that it reads."""

    config: FlowConfig
    pairs: Pairs
    rows: Rows
    validation: Rows


class TrainingResult(NamedTuple):
    """The models of a training and their likelihoods."""

    models: Model
    """Leading axis KINDS: standardization only, marginals only, and the flow."""

    test_scores: Float[Array, "kinds r"]
    """Log-likelihood of every test row, nats."""

    validation_curve: Float[Array, " rounds"]
    """Mean log-likelihood of the validation rows, nats: before each of the two stages, and after each round."""


def train(
    config: FlowConfig, pairs: Pairs, rows: Rows, validation: Rows, test: Rows, key: Array
) -> TrainingResult:
    """Train on `rows` with early stopping by `validation`, and score the models on `test`.

    The marginals and bases of the final models are fitted to training and validation rows together.
    """
    data = TrainingData(config, pairs, rows, validation)
    mix_key, coupling_key, *keys = list(jax.random.split(key, len(rows) + 2))
    identity = tuple(_init_identity(config, v, k) for v, k in zip(rows, keys, strict=True))
    init = map_stacked(
        lambda b, v, h: _select_directions(b, v, h, config.tail_bound),
        identity,
        rows,
        validation,
        over=one_by_one,
    )
    mixes = tuple(without_couplings(b) for b in init)
    params, curve = _optimize(data, mixes, config.steps, config.learning_rate, mix_key)
    best = _with_params(init, tuple(b.params._replace(mix=p.mix) for b, p in zip(init, params, strict=True)))
    if config.couplings:
        params, coupling_curve = _optimize(
            data, best, config.coupling_steps, config.coupling_rate, coupling_key
        )
        best, curve = _with_params(best, params), jnp.concatenate([curve, coupling_curve])
    all_rows = tuple(jnp.concatenate(parts) for parts in zip(rows, validation, strict=True))
    return TrainingResult(*_fit_kinds(identity, best, all_rows, test, pairs, config.tail_bound), curve)


def train_with_holdout(config: FlowConfig, rows: Rows, test: Rows, key: Array) -> TrainingResult:
    """Train on `rows`, of which the first `holdout` share is for validation, and score on `test`."""
    num_validation = round(config.holdout * rows[0].shape[0])
    training, validation = tuple(v[num_validation:] for v in rows), tuple(v[:num_validation] for v in rows)
    return train(config, config.pairs, training, validation, test, key)


def select_model(test_scores: Float[Array, "kinds n"]) -> tuple[HeldOutScores, Bool[Array, ""]]:
    """Return the mean test scores in bits, and whether the flow beats the copula by more than the standard error."""
    gaussian, copula, flow = test_scores / log(2)
    gain, error = _mean_and_error(flow - copula)
    return HeldOutScores(jnp.mean(gaussian), jnp.mean(copula), jnp.mean(flow), gain, error), gain > error


def _mean_and_error(gains: Float[Array, " n"]) -> tuple[Array, Array]:
    """Return the mean of a sample, and the standard error of that mean."""
    return jnp.mean(gains), jnp.std(gains, ddof=1) / gains.shape[0] ** 0.5


def _init_identity(config: FlowConfig, rows: Array, key: Array) -> Bijection:
    params = init_params(rows, config.couplings, config.hidden, config.bins, key)
    return init_bijection(rows, params, config.knots)


def _select_directions(identity: Bijection, rows: Array, validation: Array, tail_bound: float) -> Bijection:
    """Choose W, the identity or independent directions, by the bijection's own loss on validation rows.

    Couplings are the identity before training and take no part in the choice.
    """
    directions = independent_directions((rows - identity.mean[None]) / identity.scale[None])
    rotated = identity._replace(directions=directions, log_det_directions=jnp.linalg.slogdet(directions)[1])
    candidates = jax.tree.map(
        lambda *a: jnp.stack(a), without_couplings(identity), without_couplings(rotated)
    )
    identity_loss, rotated_loss = jax.lax.map(
        lambda b: likelihood.single_variable_loss(
            VariableLatents(*forward(fit_marginals(b, rows), validation, tail_bound))
        ),
        candidates,
    )
    return jax.tree.map(lambda a, b: jnp.where(rotated_loss < identity_loss, b, a), identity, rotated)


def _fit_kinds(
    identity: Bijections, flow: Bijections, rows: Rows, test: Rows, pairs: Pairs, tail_bound: float
) -> tuple[Model, Float[Array, "kinds r"]]:
    """Fit the three KINDS of model to `rows`, and compute the log-likelihood of the test rows under each."""
    identity_knots = tuple(b.knots for b in identity)

    def fit(kind: tuple[Bijections, Array]) -> tuple[Model, Array]:
        bijections, without_marginals = kind
        fit_bijections = tuple(
            b._replace(knots=jax.tree.map(lambda a, c: jnp.where(without_marginals, a, c), r, b.knots))
            for b, r in zip(fit_all_marginals(bijections, rows), identity_knots, strict=True)
        )
        return fit_and_score(fit_bijections, rows, test, pairs, tail_bound)

    kinds = jax.tree.map(lambda *a: jnp.stack(a), identity, identity, flow)
    return jax.lax.map(fit, (kinds, jnp.asarray([True, False, False])))


def _optimize(
    data: TrainingData, init: Bijections, steps: int, learning_rate: float, key: Array
) -> tuple[tuple[Params, ...], Array]:
    """Return the parameters of the best validation likelihood, and the mean likelihood after every round.

    The initial parameters are kept unless the best are better by more than the standard error of the difference.
    """
    rounds = data.config.rounds
    steps_per_round = max(steps // rounds, 1)
    schedule = optax.cosine_decay_schedule(learning_rate, steps_per_round * rounds)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def step(i: Array, train_state: tuple) -> tuple:
        params, state = train_state
        batch = _draw_batch(data.rows, data.config.batch, jax.random.fold_in(key, i))
        updates, state = optimizer.update(jax.grad(_loss)(params, data, init, batch), state)
        return optax.apply_updates(params, updates), state

    def run_round(carry: tuple, number: Array) -> tuple:
        train_state, best, best_scores, initial_scores = carry
        last = number * steps_per_round
        train_state = jax.lax.fori_loop(jnp.maximum(last - steps_per_round, 0), last, step, train_state)
        scores = _validation_scores(train_state[0], data, init)
        better = jnp.mean(scores) > jnp.mean(best_scores)
        best, best_scores = jax.tree.map(
            lambda a, b: jnp.where(better, a, b), (train_state[0], scores), (best, best_scores)
        )
        return (train_state, best, best_scores, jnp.where(number == 0, scores, initial_scores)), jnp.mean(
            scores
        )

    start = tuple(b.params for b in init)
    worst_scores = jnp.full(data.validation[0].shape[0], -jnp.inf, data.validation[0].dtype)
    carry = ((start, optimizer.init(start)), start, worst_scores, worst_scores)
    (_, best, best_scores, initial_scores), curve = jax.lax.scan(run_round, carry, jnp.arange(rounds + 1))
    gain, error = _mean_and_error(best_scores - initial_scores)
    return jax.tree.map(lambda a, b: jnp.where(gain > error, a, b), best, start), curve


def _loss(params: tuple[Params, ...], data: TrainingData, init: Bijections, batch: Rows) -> Array:
    """Compute the profiled loss of a batch, with marginals and bases of the batch."""
    bijections = jax.lax.stop_gradient(fit_all_marginals(_with_params(init, params), batch))
    return likelihood.profiled_loss(
        transform(_with_params(bijections, params), batch, data.config.tail_bound), data.pairs
    )


def _validation_scores(params: tuple[Params, ...], data: TrainingData, init: Bijections) -> Array:
    """Compute the log-likelihood of each validation row, with marginals and bases of the training rows."""
    config, pairs, rows, validation = data
    bijections = fit_all_marginals(_with_params(init, params), rows)
    return fit_and_score(bijections, rows, validation, pairs, config.tail_bound)[1]


def _with_params(bijections: Bijections, params: tuple[Params, ...]) -> Bijections:
    return tuple(b._replace(params=p) for b, p in zip(bijections, params, strict=True))


def _draw_batch(rows: Rows, size: int, key: Array) -> Rows:
    """Draw `size` rows with replacement; return all rows if there are no more than that."""
    n = rows[0].shape[0]
    if n <= size:
        return rows
    index = jax.random.randint(key, (size,), 0, n)
    return tuple(v[index] for v in rows)
