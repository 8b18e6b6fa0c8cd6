"""One training, from rows to models, as a single program: start, steps, early stopping.

start    per variable, the coordinates as given or independent directions, whichever fits held-out rows better
climb    the mixes alone first, then couplings too, at their own rate, from the best mixes: couplings fitted at
         once to some hundred rows overfit before the mixes have turned (measured: -29 against -27 nats)
step     Adam on the profiled likelihood of a batch; the marginal splines follow the batch, without gradient
         (they are at their own optimum, so by the envelope theorem the missing term is small)
stop     before the first and after every round the held-out likelihood is taken; the best numbers are kept

n rows fitted, r rows held out, R rounds
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from pid.flow import likelihood
from pid.flow.bijection import (
    Bijection,
    Trained,
    calibrate,
    forward,
    standardizing,
    untrained,
    without_couplings,
)
from pid.flow.ica import independent_directions
from pid.flow.likelihood import Latents, Pairs
from pid.flow.model import (
    Bijections,
    Model,
    Rows,
    calibrated,
    each,
    image,
    one_by_one,
    with_likelihood,
)

KINDS = ("gaussian", "copula", "flow")  # the models a training returns, on a leading axis


@runtime_checkable
class Settings(Protocol):
    """The fields of a flow's configuration that training reads."""

    @property
    def couplings(self) -> int: ...
    @property
    def bins(self) -> int: ...
    @property
    def knots(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def reach(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def rounds(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def coupling_steps(self) -> int: ...
    @property
    def coupling_rate(self) -> float: ...


class Problem(NamedTuple):
    """What a training is given."""

    settings: Settings
    pairs: Pairs
    rows: Rows
    held: Rows


class Training(NamedTuple):
    """What a training returns."""

    models: Model  # leading axis KINDS: standardised only, marginals only, and the flow
    judged: Float[Array, "kinds r"]  # log-likelihood of every judged row, nats
    course: Float[Array, " rounds"]  # mean held-out log-likelihood, nats: before each climb, after each round


def train(settings: Settings, pairs: Pairs, rows: Rows, held: Rows, judged: Rows, key: Array) -> Training:
    """Fit to `rows`, stop early by `held`, then fit marginals and Gaussians to both together; judge by `judged`."""
    problem = Problem(settings, pairs, rows, held)
    mixing, coupling, *keys = list(jax.random.split(key, len(rows) + 2))
    plain = tuple(_plain(settings, v, k) for v, k in zip(rows, keys, strict=True))
    begun = each(lambda b, v, h: _start(b, v, h, settings.reach), plain, rows, held, over=one_by_one)
    mixes = tuple(without_couplings(b) for b in begun)
    trained, course = _climb(problem, mixes, settings.steps, settings.learning_rate, mixing)
    best = _place(begun, tuple(b.trained._replace(mix=t.mix) for b, t in zip(begun, trained, strict=True)))
    if settings.couplings:
        trained, more = _climb(problem, best, settings.coupling_steps, settings.coupling_rate, coupling)
        best, course = _place(best, trained), jnp.concatenate([course, more])
    whole = tuple(jnp.concatenate(both) for both in zip(rows, held, strict=True))
    return Training(*_models(plain, best, whole, judged, pairs, settings.reach), course)


def mean_and_error(gains: Float[Array, " n"]) -> tuple[Array, Array]:
    """The mean of a sample, and the standard error of that mean."""
    return jnp.mean(gains), jnp.std(gains, ddof=1) / gains.shape[0] ** 0.5


def _plain(settings: Settings, rows: Array, key: Array) -> Bijection:
    identity = untrained(rows, settings.couplings, settings.hidden, settings.bins, key)
    return standardizing(rows, identity, settings.knots)


def _start(plain: Bijection, rows: Array, held: Array, reach: float) -> Bijection:
    """The bijection from given coordinates or from independent directions, by its own held-out likelihood.

    Untrained couplings are the identity and take no part in the choice.
    """
    directions = independent_directions((rows - plain.mean[None]) / plain.scale[None])
    turned = plain._replace(start=directions, log_start=jnp.linalg.slogdet(directions)[1])
    both = jax.tree.map(lambda *a: jnp.stack(a), without_couplings(plain), without_couplings(turned))
    given, found = jax.lax.map(
        lambda b: likelihood.spread(Latents(*forward(calibrate(b, rows), held, reach))), both
    )
    return jax.tree.map(lambda a, b: jnp.where(found < given, b, a), plain, turned)


def _models(
    plain: Bijections, trained: Bijections, rows: Rows, judged: Rows, pairs: Pairs, reach: float
) -> tuple[Model, Float[Array, "kinds r"]]:
    """The three KINDS of model, fitted to `rows`, and the log-likelihood of the judged rows under each."""
    raw = tuple(b.knots for b in plain)  # the identity

    def fit(kind: tuple[Bijections, Array]) -> tuple[Model, Array]:
        bijections, is_raw = kind
        fitted = tuple(
            b._replace(knots=jax.tree.map(lambda a, c: jnp.where(is_raw, a, c), r, b.knots))
            for b, r in zip(calibrated(bijections, rows), raw, strict=True)
        )
        return with_likelihood(fitted, rows, judged, pairs, reach)

    kinds = jax.tree.map(lambda *a: jnp.stack(a), plain, plain, trained)
    return jax.lax.map(fit, (kinds, jnp.asarray([True, False, False])))


def _climb(
    problem: Problem, begun: Bijections, steps: int, rate: float, key: Array
) -> tuple[tuple[Trained, ...], Array]:
    """The trained numbers of the best held-out likelihood, and that likelihood over the rounds.

    Those at the beginning, unless the best are above them by more than the standard error of the difference.
    """
    rounds = problem.settings.rounds
    per_round = max(steps // rounds, 1)
    schedule = optax.cosine_decay_schedule(rate, per_round * rounds)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def step(i: Array, running: tuple) -> tuple:
        trained, state = running
        batch = _batch(problem.rows, problem.settings.batch, jax.random.fold_in(key, i))
        updates, state = optimizer.update(jax.grad(_loss)(trained, problem, begun, batch), state)
        return optax.apply_updates(trained, updates), state

    def one_round(carry: tuple, number: Array) -> tuple:
        running, best, highest, first = carry
        last = number * per_round
        running = jax.lax.fori_loop(jnp.maximum(last - per_round, 0), last, step, running)
        now = _score(running[0], problem, begun)
        better = jnp.mean(now) > jnp.mean(highest)
        best, highest = jax.tree.map(lambda a, b: jnp.where(better, a, b), (running[0], now), (best, highest))
        return (running, best, highest, jnp.where(number == 0, now, first)), jnp.mean(now)

    start = tuple(b.trained for b in begun)
    lowest = jnp.full(problem.held[0].shape[0], -jnp.inf, problem.held[0].dtype)
    carry = ((start, optimizer.init(start)), start, lowest, lowest)
    (_, best, highest, first), course = jax.lax.scan(one_round, carry, jnp.arange(rounds + 1))
    gain, error = mean_and_error(highest - first)
    return jax.tree.map(lambda a, b: jnp.where(gain > error, a, b), best, start), course


def _loss(trained: tuple[Trained, ...], problem: Problem, begun: Bijections, batch: Rows) -> Array:
    """The profiled loss of a batch, marginals and Gaussians those of the batch."""
    fitted = jax.lax.stop_gradient(calibrated(_place(begun, trained), batch))
    return likelihood.profiled_loss(
        image(_place(fitted, trained), batch, problem.settings.reach), problem.pairs
    )


def _score(trained: tuple[Trained, ...], problem: Problem, begun: Bijections) -> Array:
    """The log-likelihood of each held-out row, marginals and Gaussians those of the rows fitted."""
    settings, pairs, rows, held = problem
    return with_likelihood(calibrated(_place(begun, trained), rows), rows, held, pairs, settings.reach)[1]


def _place(bijections: Bijections, trained: tuple[Trained, ...]) -> Bijections:
    return tuple(b._replace(trained=t) for b, t in zip(bijections, trained, strict=True))


def _batch(rows: Rows, size: int, key: Array) -> Rows:
    """All rows if they are few, else `size` of them drawn anew."""
    n = rows[0].shape[0]
    if n <= size:
        return rows
    chosen = jax.random.randint(key, (size,), 0, n)
    return tuple(v[chosen] for v in rows)
