"""Configuration of a separable flow, and the checks of the samples that it is trained on."""

from dataclasses import dataclass

import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from pid.interface.deprecation import accept_former_fields, warn_former_name

MIN_ROWS = 100
Rows = tuple[Array, ...]  # one array (n, d) per bijection
Pairs = tuple[tuple[int, int], ...]
SHARED: Pairs = ((0, 1), (0, 2))  # indices into (target, x, y)
PER_PAIR: Pairs = ((0, 1), (3, 2))  # indices into (target, x, y, target)


@accept_former_fields(reach="tail_bound")
@dataclass(frozen=True)
class FlowConfig:
    """Configuration of a `SeparableFlow`: its architecture and its training.

    Importing this class loads neither distrax nor optax. `SeparableFlow` is this configuration with the method `fit`.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> from pid.flow import FlowConfig
        >>> FlowConfig(couplings=0, steps=200).folds
        5
    """

    shared_target: bool = True
    """One map of the target for both pairs; False trains one per pair, as the PID Flow paper states."""

    couplings: int = 2
    """Spline coupling layers per variable, at least 0; 0 trains the linear mix alone, several times faster. Below a
    few thousand rows couplings rarely help."""

    bins: int = 8
    """Bins of each coupling spline, at least 2."""

    knots: int = 16
    """Bins of each marginal spline, at least 4."""

    hidden: int = 32
    """Hidden units of the network that places the knots of a coupling, at least 1."""

    tail_bound: float = 5.0
    """Couplings are the identity beyond this many standard deviations; above 0."""

    steps: int = 400
    """Adam steps for the mixes, at least 1."""

    learning_rate: float = 0.01
    """Initial learning rate of the mixes, above 0; it decays to 0 along a cosine."""

    coupling_steps: int = 100
    """Adam steps that follow, for couplings and mixes together; at least 1."""

    coupling_rate: float = 0.001
    """Initial learning rate of `coupling_steps`, above 0; it decays to 0 along a cosine."""

    rounds: int = 20
    """Number of validations in each of the two stages, at least 1."""

    batch: int = 1024
    """Rows per step, at least 64; all rows if there are fewer."""

    holdout: float = 0.2
    """Share of the rows for early stopping, and also for the test of a single fit; 0.05 to 0.5."""

    folds: int = 5
    """Folds of cross-fitting, at least 2; each fold is transformed by a flow that was trained on the others."""

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        name_of_class = type(self).__name__
        minimum = dict(
            couplings=0, bins=2, knots=4, hidden=1, steps=1, coupling_steps=1, rounds=1, batch=64, folds=2
        )
        for name, bound in minimum.items():
            if getattr(self, name) < bound:
                raise ValueError(
                    f"{name_of_class} needs {name} >= {bound}, got {getattr(self, name)}; raise it."
                )
        for name in ("tail_bound", "learning_rate", "coupling_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name_of_class} needs {name} > 0, got {getattr(self, name)}; raise it.")
        if not 0.05 <= self.holdout <= 0.5:
            raise ValueError(
                f"{name_of_class} needs 0.05 <= holdout <= 0.5, got {self.holdout}; 0.2 is usual."
            )

    @property
    def pairs(self) -> Pairs:
        """The two bijections of each pair, as indices into `bijection_inputs`."""
        return SHARED if self.shared_target else PER_PAIR

    def bijection_inputs(self, target: Array, x: Array, y: Array) -> Rows:
        """Return the variables in the order of their bijections, with the target twice if its map is not shared."""
        return (target, x, y) if self.shared_target else (target, x, y, target)

    def rows(self, target: Array, x: Array, y: Array) -> Rows:
        """Former name of `bijection_inputs`."""
        warn_former_name("FlowConfig.rows", "bijection_inputs")
        return self.bijection_inputs(target, x, y)


def check_rows(target: Array, x: Array, y: Array, *, padded: bool = False) -> None:
    """Check that a flow can be trained on these rows. Leading axes before (n, d) are layers.

    Args:
        target: `(..., n, d_m)`.
        x: `(..., n, d_x)`.
        y: `(..., n, d_y)`.
        padded: whether trailing columns of zeros count as padding.

    Raises:
        ValueError: different numbers of rows; fewer than 100 rows or 10 per dimension of a pair; values that are not
            finite; columns that are constant.
    """
    variables = {"target": target, "x": x, "y": y}
    shapes = {name: v.shape for name, v in variables.items()}
    if len({v.shape[:-1] for v in variables.values()}) > 1 or len({v.ndim for v in variables.values()}) > 1:
        raise ValueError(
            f"a flow needs target, x and y of the same samples, got shapes {shapes}; align their rows."
        )
    columns = {name: _columns(v, padded=padded) for name, v in variables.items()}
    width_target, width_x, width_y = (mask.sum(axis=-1) for mask in columns.values())
    n, width = target.shape[-2], np.max(width_target + np.maximum(width_x, width_y))
    if n < max(MIN_ROWS, 10 * width):
        raise ValueError(
            f"a flow needs at least {MIN_ROWS} samples and 10 per dimension of a pair, got {n} samples of "
            f"{width} dimensions; keep fewer components, or use the copula."
        )
    for name, v in variables.items():
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


def _columns(v: Array, *, padded: bool) -> np.ndarray:
    """Return the mask of the columns of each layer that are not padding.

    These are the columns that are not zero, and all columns to the left of one.
    """
    if not padded or isinstance(v, Tracer):
        return np.ones(v.shape[-1], bool)
    nonzero = np.any(np.asarray(v) != 0, axis=-2)
    return np.logical_or.accumulate(nonzero[..., ::-1], axis=-1)[..., ::-1]
