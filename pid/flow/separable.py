"""The separable flow: its configuration, one fit, and what a fit can do.

n rows
"""

from dataclasses import dataclass
from functools import partial
from math import log
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from pid.flow.bijection import inverse
from pid.flow.likelihood import PER_PAIR, SHARED, Pairs
from pid.flow.model import Model, Rows, each, image, log_likelihood, one_by_one
from pid.flow.training import KINDS, Training, mean_and_error, train

LEAST_ROWS = 100


class FlowLatents(NamedTuple):
    """Latents of the three variables; `target_y` is the target as paired with y, if it has a map of its own."""

    target: Float[Array, "*b n m"]
    x: Float[Array, "*b n dx"]
    y: Float[Array, "*b n dy"]
    target_y: Float[Array, "*b n m"] | None = None


class HeldOut(NamedTuple):
    """Mean log-likelihood per row, in bits, of rows that took no part in the fit; only differences have meaning."""

    gaussian: Float[Array, "*b"]
    copula: Float[Array, "*b"]
    flow: Float[Array, "*b"]
    gain: Float[Array, "*b"]  # flow - copula
    gain_error: Float[Array, "*b"]  # its standard error


@dataclass(frozen=True)
class SeparableFlow:
    """One bijection per variable, trained so that (target, x) and (target, y) become jointly Gaussian.

    Mutual information and its decomposition do not change under such maps, so what a covariance says about the
    latents holds for the data. Per variable: a linear mix, spline marginals, coupling layers. The copula
    is the special case without mix and couplings, and what a fit falls back to unless the flow is better on rows
    it never saw by more than the standard error. Training is in float32, whatever the data.

    Raises ValueError for a field outside its range.
    """

    shared_target: bool = True
    """One map of the target for both pairs; False trains one per pair, as the PID Flow paper states."""

    couplings: int = 2
    """Spline coupling layers per variable; 0 trains the linear mix alone, several times faster. Below some
    thousand rows they rarely help."""

    bins: int = 8
    """Bins of each coupling spline."""

    knots: int = 16
    """Bins of each marginal spline."""

    hidden: int = 32
    """Hidden units of the network that places the knots of a coupling."""

    reach: float = 5.0
    """Couplings are the identity beyond this many standard deviations."""

    steps: int = 400
    """Adam steps for the mixes."""

    learning_rate: float = 0.01
    """Initial rate of those steps; it falls to 0 along a cosine."""

    coupling_steps: int = 100
    """Adam steps for the couplings, mixes included, that follow."""

    coupling_rate: float = 0.001
    """Initial rate of those steps."""

    rounds: int = 20
    """How often in each of the two the held-out likelihood is taken."""

    batch: int = 1024
    """Rows per step; all rows where there are no more."""

    holdout: float = 0.2
    """Share of the rows that stops a training early, and share a single fit is judged by."""

    folds: int = 5
    """Parts of the rows in cross-fitting; each gets its latents from the others."""

    def __post_init__(self):
        least = dict(
            couplings=0, bins=2, knots=4, hidden=1, steps=1, coupling_steps=1, rounds=1, batch=64, folds=2
        )
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(
                    f"SeparableFlow needs {name} >= {bound}, got {getattr(self, name)}; raise it."
                )
        for name in ("reach", "learning_rate", "coupling_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SeparableFlow needs {name} > 0, got {getattr(self, name)}; raise it.")
        if not 0.05 <= self.holdout <= 0.5:
            raise ValueError(f"SeparableFlow needs 0.05 <= holdout <= 0.5, got {self.holdout}; 0.2 is usual.")

    @property
    def pairs(self) -> Pairs:
        """Which bijections a pair joins: of (target, x, y), and of the target again if it is not shared."""
        return SHARED if self.shared_target else PER_PAIR

    def rows(self, target: Array, x: Array, y: Array) -> Rows:
        """The variables in the order of their bijections."""
        return (target, x, y) if self.shared_target else (target, x, y, target)

    def fit(
        self, target: Float[Array, "n m"], x: Float[Array, "_ dx"], y: Float[Array, "_ dy"], key: Array
    ) -> "Fitted":
        """Train on 1 - holdout of the rows, drawn by `key`, and choose flow or copula by the others.

        To measure information in the same rows use `cross_fit`: a flow sees dependence where it only fits noise.
        Raises ValueError for fewer than 100 rows or 10 per dimension of a pair, values that are not finite,
        columns that are constant, or different numbers of rows.
        """
        check_rows(target, x, y)
        return _fit(self, *(jnp.asarray(v, jnp.float32) for v in (target, x, y)), key)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model", "beats_copula", "held_out", "course"],
    meta_fields=["flow"],
)
@dataclass(frozen=True)
class Fitted:
    """A fitted flow, or the copula where the flow was no better; pure functions of it are jit-able."""

    flow: SeparableFlow
    model: Model
    beats_copula: Bool[Array, ""]
    held_out: HeldOut
    course: Float[Array, " rounds"]
    """Mean log-likelihood, nats per row, of the rows that stop the training, before and after every round."""

    def transform(
        self, target: Float[Array, "n m"], x: Float[Array, "n dx"], y: Float[Array, "n dy"]
    ) -> FlowLatents:
        """The latents of any rows."""
        return _transform(self, self._rows(target, x, y))

    def inverse(self, latents: FlowLatents) -> FlowLatents:
        """The rows of which these are the latents."""
        return _inverse(self, latents)

    def log_prob(
        self, target: Float[Array, "n m"], x: Float[Array, "n dx"], y: Float[Array, "n dy"]
    ) -> Float[Array, " n"]:
        """log p(target, x) + log p(target, y) of each row, in nats and in the units of the data."""
        return _log_prob(self, self._rows(target, x, y))

    def _rows(self, *variables: Array) -> Rows:
        return self.flow.rows(*(jnp.asarray(v, jnp.float32) for v in variables))


@jax.jit
def _transform(fitted: Fitted, rows: Rows) -> FlowLatents:
    latents = image(fitted.model.bijections, rows, fitted.flow.reach)
    return FlowLatents(*(one.values for one in latents))


@jax.jit
def _inverse(fitted: Fitted, latents: FlowLatents) -> FlowLatents:
    given = tuple(v for v in latents if v is not None)
    back = each(
        lambda b, z: inverse(b, z, fitted.flow.reach), fitted.model.bijections, given, over=one_by_one
    )
    return FlowLatents(*back)


@jax.jit
def _log_prob(fitted: Fitted, rows: Rows) -> Float[Array, " n"]:
    return log_likelihood(fitted.model, rows, fitted.flow.pairs, fitted.flow.reach)


def fit_fold(flow: SeparableFlow, rows: Rows, held: Rows, key: Array) -> Training:
    """Train on `rows`, of which the first stop it early, and judge by `held`."""
    few = round(flow.holdout * rows[0].shape[0])
    fitted, stopping = tuple(v[few:] for v in rows), tuple(v[:few] for v in rows)
    return train(flow, flow.pairs, fitted, stopping, held, key)


def judge(held: Float[Array, "kinds n"]) -> tuple[HeldOut, Bool[Array, ""]]:
    """Held-out likelihoods in bits, and whether the flow beats the copula by more than its standard error."""
    gaussian, copula, flow = held / log(2)
    gain, error = mean_and_error(flow - copula)
    return HeldOut(jnp.mean(gaussian), jnp.mean(copula), jnp.mean(flow), gain, error), gain > error


def _columns(v: Array, *, padded: bool) -> np.ndarray:
    """Which columns of each layer are no padding: those that are not zero, and all to the left of them."""
    if not padded or isinstance(v, Tracer):
        return np.ones(v.shape[-1], bool)
    some = np.any(np.asarray(v) != 0, axis=-2)
    return np.logical_or.accumulate(some[..., ::-1], axis=-1)[..., ::-1]


def check_rows(target: Array, x: Array, y: Array, *, padded: bool = False) -> None:
    """Raises ValueError, in words, for rows no flow can be fitted to. Leading axes before (n, d) are layers.

    padded: columns of zeros to the right of the others are none.
    """
    named = {"target": target, "x": x, "y": y}
    shapes = {name: v.shape for name, v in named.items()}
    if len({v.shape[:-1] for v in named.values()}) > 1 or len({v.ndim for v in named.values()}) > 1:
        raise ValueError(
            f"a flow needs target, x and y of the same samples, got shapes {shapes}; align their rows."
        )
    columns = {name: _columns(v, padded=padded) for name, v in named.items()}
    of_target, of_x, of_y = (some.sum(axis=-1) for some in columns.values())
    n, width = target.shape[-2], np.max(of_target + np.maximum(of_x, of_y))
    if n < max(LEAST_ROWS, 10 * width):
        raise ValueError(
            f"a flow needs at least {LEAST_ROWS} samples and 10 per dimension of a pair, got {n} samples of "
            f"{width} dimensions; keep fewer components, or use the copula."
        )
    for name, v in named.items():
        if isinstance(v, Tracer):
            continue
        if not np.isfinite(v).all():
            raise ValueError(
                f"a flow needs finite values, got NaN or infinity in {name}; drop those samples."
            )
        constant = (np.ptp(v, axis=-2) == 0) & columns[name]
        if constant.any():
            raise ValueError(
                f"a flow needs columns that vary, got {int(constant.sum())} constant in {name}; drop them, or keep "
                f"fewer components."
            )


@partial(jax.jit, static_argnames="flow")
def _fit(flow: SeparableFlow, target: Array, x: Array, y: Array, key: Array) -> Fitted:
    with jax.default_matmul_precision("highest"):
        n = target.shape[0]
        shuffle, train_key = jax.random.split(key)
        order, few = jax.random.permutation(shuffle, n), round(flow.holdout * n)
        rows, held = (tuple(v[part] for v in flow.rows(target, x, y)) for part in (order[few:], order[:few]))
        fold = fit_fold(flow, rows, held, train_key)
        held_out, beats = judge(fold.judged)
        kind = jnp.where(beats, KINDS.index("flow"), KINDS.index("copula"))
        model = jax.tree.map(lambda a: a[kind], fold.models)
        return Fitted(flow, model, beats, held_out, fold.course)
