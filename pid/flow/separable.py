"""The separable flow: fit, transform, inverse and log-density.

n rows
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pid.flow.bijection import inverse
from pid.flow.config import FlowConfig, Rows, check_rows
from pid.flow.model import FlowLatents, Model, log_likelihood, map_stacked, one_by_one, transform
from pid.flow.training import KINDS, HeldOutScores, select_model, train_with_holdout
from pid.interface.deprecation import add_former_properties


class SeparableFlow(FlowConfig):
    """A normalizing flow with one bijection per variable, which makes (target, x) and (target, y) jointly Gaussian.

    Mutual information and its decomposition do not change under such maps, so the covariance of the latents has
    the information of the data. The bijection of a variable is a linear mix, spline marginals and coupling
    layers. The copula is the special case without mix and couplings. A fit falls back to the copula unless the flow
    is better on held-out rows by more than the standard error. Training is in float32, whatever the data.

    The fields are those of `FlowConfig`, where each is documented.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> from pid import SeparableFlow
        >>> flow = SeparableFlow(couplings=0, steps=200)
        >>> flow.steps, flow.shared_target
        (200, True)

    Reference:
        Butakov et al., "Mutual information estimation via normalizing flows", 2024. Zhao et al., "Partial
        information decomposition via normalizing flows in latent Gaussian distributions", 2025. Durkan, Bekasov,
        Murray & Papamakarios, "Neural spline flows", 2019.
    """

    def fit(
        self, target: Float[Array, "n m"], x: Float[Array, "_ dx"], y: Float[Array, "_ dy"], key: Array
    ) -> "FittedFlow":
        """Train on 1 - holdout of the rows, drawn by `key`, and choose flow or copula by the remaining rows.

        To estimate information from the same rows, use `pid.flow.cross_fit`: a flow overfits its training rows, which
        overstates their dependence.

        Args:
            target: n samples of the target, n ≥ 100 and ≥ 10 per dimension of a pair; finite, no constant column.
            x: the same samples of x.
            y: the same samples of y.
            key: key of the random split, initialization and batches.

        Returns:
            FittedFlow: the fitted flow, or the copula where the flow was no better.

        Raises:
            ValueError: fewer than 100 rows or 10 per dimension of a pair; values that are not finite; columns that
                are constant; different numbers of rows.

        Example:
            >>> import jax
            >>> from pid import SeparableFlow
            >>> target, x, y = jax.random.normal(jax.random.key(0), (3, 100, 1))
            >>> flow = SeparableFlow(couplings=0, knots=4, steps=1, rounds=1)
            >>> fitted = flow.fit(target, x, y, jax.random.key(1))  # doctest: +SKIP
            >>> fitted.transform(target, x, y).target.shape  # doctest: +SKIP
            (100, 1)
        """
        check_rows(target, x, y)
        return _fit(self, *(jnp.asarray(v, jnp.float32) for v in (target, x, y)), key)


@add_former_properties(course="validation_curve")
@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model", "beats_copula", "held_out", "validation_curve"],
    meta_fields=["flow"],
)
@dataclass(frozen=True)
class FittedFlow:
    """A fitted flow, or the copula where the flow was no better; its methods work under `jit`."""

    flow: SeparableFlow
    """The configuration of the fit."""

    model: Model
    """The bijections and the base distributions."""

    beats_copula: Bool[Array, ""]
    """Whether `model` is the flow; otherwise it is the copula."""

    held_out: HeldOutScores
    """Scores of the held-out rows."""

    validation_curve: Float[Array, " rounds"]
    """Mean log-likelihood, nats per row, of the validation rows, before and after every round."""

    def transform(
        self, target: Float[Array, "n m"], x: Float[Array, "n dx"], y: Float[Array, "n dy"]
    ) -> FlowLatents:
        """Map any rows to their latents.

        Args:
            target: rows of the target; all three with the widths of the fit.
            x: rows of x.
            y: rows of y.

        Returns:
            FlowLatents in float32, `target_y` where the flow has one target map per pair.
        """
        return _transform(self, self._inputs(target, x, y))

    def inverse(self, latents: FlowLatents) -> FlowLatents:
        """Map latents back to their rows, in the units of the data.

        Args:
            latents: as from `transform`.

        Returns:
            The rows of target, x and y; of the second target map too, where there is one.
        """
        return _inverse(self, latents)

    def log_prob(
        self, target: Float[Array, "n m"], x: Float[Array, "n dx"], y: Float[Array, "n dy"]
    ) -> Float[Array, " n"]:
        """Compute the log-density log p(target, x) + log p(target, y) of each row.

        Args:
            target: rows of the target; all three with the widths of the fit.
            x: rows of x.
            y: rows of y.

        Returns:
            One number per row, in nats and in the units of the data.
        """
        return _log_prob(self, self._inputs(target, x, y))

    def _inputs(self, *variables: Array) -> Rows:
        return self.flow.bijection_inputs(*(jnp.asarray(v, jnp.float32) for v in variables))


@jax.jit
def _transform(fitted: FittedFlow, rows: Rows) -> FlowLatents:
    latents = transform(fitted.model.bijections, rows, fitted.flow.tail_bound)
    return FlowLatents(*(variable.values for variable in latents))


@jax.jit
def _inverse(fitted: FittedFlow, latents: FlowLatents) -> FlowLatents:
    values = tuple(v for v in latents if v is not None)
    rows = map_stacked(
        lambda b, z: inverse(b, z, fitted.flow.tail_bound), fitted.model.bijections, values, over=one_by_one
    )
    return FlowLatents(*rows)


@jax.jit
def _log_prob(fitted: FittedFlow, rows: Rows) -> Float[Array, " n"]:
    return log_likelihood(fitted.model, rows, fitted.flow.pairs, fitted.flow.tail_bound)


@partial(jax.jit, static_argnames="flow")
def _fit(flow: SeparableFlow, target: Array, x: Array, y: Array, key: Array) -> FittedFlow:
    with jax.default_matmul_precision("highest"):
        n = target.shape[0]
        shuffle, train_key = jax.random.split(key)
        order, num_test = jax.random.permutation(shuffle, n), round(flow.holdout * n)
        inputs = flow.bijection_inputs(target, x, y)
        rows, test = (tuple(v[index] for v in inputs) for index in (order[num_test:], order[:num_test]))
        training = train_with_holdout(flow, rows, test, train_key)
        held_out, beats = select_model(training.test_scores)
        kind = jnp.where(beats, KINDS.index("flow"), KINDS.index("copula"))
        model = jax.tree.map(lambda a: a[kind], training.models)
        return FittedFlow(flow, model, beats, held_out, training.validation_curve)
