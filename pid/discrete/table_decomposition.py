"""Decomposition of tables of probabilities by a named measure, and the certificate of BROJA."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pid.discrete import broja_program, pointwise_redundancy
from pid.discrete.broja_bounds import bounds
from pid.discrete.probability_tables import Table, check_table, table_information
from pid.gaussian.covariance import units_per_nat
from pid.gaussian.systems import x64_context
from pid.measures import PID

DiscreteMeasure = Literal["broja", "i_min", "mmi", "ccs"]
LARGE_CHUNK, SMALL_CHUNK = 128, 8
"""Tables that one call of a compiled program treats: the first for batches, the second for few."""
MAX_CHUNK_ENTRIES = 2**21
"""A chunk has fewer tables where its matrices would have more entries than this."""


class Certificate(NamedTuple):
    """Numerical proof of the union information of BROJA for one table or a batch.

    The true union information lies between `dual` and `primal`.

    Example:
        >>> import numpy as np
        >>> from pid import discrete
        >>> copy = np.zeros((4, 2, 2))
        >>> copy[[0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1]] = 1 / 4  # t = (x, y), two independent bits
        >>> proof = discrete.certificate(copy)
        >>> isinstance(proof, discrete.Certificate), round(float(proof.union), 6)
        (True, 2.0)
    """

    union: Float[np.ndarray, "*b"]
    """Union information, halfway between the bounds, in bits."""

    primal: Float[np.ndarray, "*b"]
    """I(T;X,Y) under `coupling`, in bits: an upper bound of the union information."""

    dual: Float[np.ndarray, "*b"]
    """H(T) + Σ p(t,x) λ + Σ p(t,y) μ, in bits: a lower bound of the union information."""

    gap: Float[np.ndarray, "*b"]
    """primal - dual, in bits; 1e-7 at most where the method has converged."""

    coupling: Float[np.ndarray, "*b T X Y"]
    """q(t,x,y) with q(t,x) = p(t,x) and q(t,y) = p(t,y), and the least I(T;X,Y) up to the gap."""

    potential_x: Float[np.ndarray, "*b T X"]
    """λ(t,x) in nats, with Σ_t exp(λ(t,x) + μ(t,y)) ≤ 1 in every cell (x,y) that can occur."""

    potential_y: Float[np.ndarray, "*b T Y"]
    """μ(t,y) in nats."""


def decompose(p: Any, *, measure: DiscreteMeasure | str = "broja", base: int | float = 2) -> PID:
    """Compute the partial information decomposition of a table of probabilities p(t, x, y).

        broja  union = min I_q(T;X,Y) over q with q(t,x) = p(t,x), q(t,y) = p(t,y)
        i_min  R = Σ_t p(t) min(I(T=t;X), I(T=t;Y)), I(T=t;Z) = Σ_z p(z|t) log p(t|z)/p(t)
        mmi    R = min(I(T;X), I(T;Y))
        ccs    R = common change in surprisal; R, U_x, U_y and S may be negative

    The other atoms follow from I(T;X) = R + U_x, I(T;Y) = R + U_y and I(T;X,Y) = R + U_x + U_y + S. The order of the
    values of a variable changes nothing. Values that never occur change nothing either.

    Args:
        p: tables `(..., T, X, Y)` of finite probabilities ≥ 0, axes in the order target, x, y. Each table sums to 1
            within 1e-6.
        measure: "broja" (Bertschinger et al.), "i_min" (Williams & Beer), "mmi" (minimum mutual information) or
            "ccs" (Ince).
        base: base of the logarithm, above 1: 2 gives bits, `math.e` nats.

    Returns:
        PID of NumPy arrays in float64, each field of the shape of the leading axes. `certificate` bounds the error of
        "broja", which is below 1e-7 bits.

    Raises:
        ValueError: a table that is traced, has fewer than three axes, is empty, not real, not finite, negative, or does
            not sum to 1; an unknown measure; a base that is not above 1.

    Example:
        >>> import numpy as np
        >>> from pid import discrete
        >>> xor = np.zeros((2, 2, 2))
        >>> xor[[0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]] = 1 / 4
        >>> pid = discrete.decompose(xor)
        >>> round(float(pid.synergy), 6), round(float(pid.redundancy), 6)
        (1.0, 0.0)

    Reference:
        Bertschinger, Rauh, Olbrich, Jost & Ay, "Quantifying unique information", Entropy 16, 2014. Williams & Beer,
        "Nonnegative decomposition of multivariate information", arXiv 1004.2515, 2010. Ince, "Measuring multivariate
        redundant information with pointwise common change in surprisal", Entropy 19, 2017.
    """
    check_measure(measure)
    unit = units_per_nat(base)
    tables = check_table(p)
    pid = decompose_checked(tables.reshape(-1, *tables.shape[-3:]), measure)
    return PID(*((field * unit).reshape(tables.shape[:-3]) for field in pid))


def check_measure(measure: str) -> None:
    """Check the name of a measure.

    Raises:
        ValueError: an unknown measure.
    """
    names = get_args(DiscreteMeasure)
    if measure not in names:
        raise ValueError(f"measure must be one of {', '.join(names)}, got {measure!r}; pass measure='broja'.")


def decompose_checked(p: Float[np.ndarray, "n T X Y"], measure: str) -> PID:
    """Compute the decomposition of tables that `check_table` has returned, in nats."""
    x, y, joint = table_information(p)
    if measure == "broja":
        _, primal, dual = _solve_tables(p)[:3]
        return pid_from_union(x, y, joint, (primal + dual) / 2)
    if measure == "mmi":
        return pid_from_union(x, y, joint, np.maximum(x, y))
    if measure == "i_min":
        return pid_from_union(x, y, joint, x + y - pointwise_redundancy.minimum_specific_information(p))
    (redundancy,) = _over_chunks(_common_change, p)
    return PID(
        redundancy,
        x - redundancy,
        y - redundancy,
        joint - x - y + redundancy,
        x,
        y,
        joint,
        x + y - redundancy,
    )


def pid_from_union(
    x: Float[np.ndarray, "*b"],
    y: Float[np.ndarray, "*b"],
    joint: Float[np.ndarray, "*b"],
    union: Float[np.ndarray, "*b"],
) -> PID:
    """Make a PID of nonnegative atoms: the union is moved between max(I_x, I_y) and min(I_x + I_y, I_xy)."""
    union = np.clip(union, np.maximum(x, y), np.minimum(x + y, joint))
    atoms = (x + y - union, union - y, union - x, joint - union)
    redundancy, unique_x, unique_y, synergy = (np.maximum(atom, 0) for atom in atoms)
    return PID(redundancy, unique_x, unique_y, synergy, x, y, joint, union)


def certificate(p: Any) -> Certificate:
    """Certify the union information of BROJA for a table of probabilities by a primal and a dual bound.

        primal  I_q(T;X,Y) of a coupling q with the pairs of the table
        dual    H(T) + Σ p(t,x) λ(t,x) + Σ p(t,y) μ(t,y) with Σ_t exp(λ(t,x) + μ(t,y)) ≤ 1 in every cell (x,y)

    Both bounds hold for every q, λ and μ of this kind, whether or not the method has converged.

    Args:
        p: tables `(..., T, X, Y)` of probabilities; see `decompose`.

    Returns:
        Certificate of NumPy arrays in float64, information in bits.

    Raises:
        ValueError: the cases of `decompose`.

    Example:
        >>> import numpy as np
        >>> from pid import discrete
        >>> tables = np.random.default_rng(0).dirichlet(np.ones(27), size=5).reshape(5, 3, 3, 3)
        >>> proof = discrete.certificate(tables)
        >>> proof.gap.shape, bool(np.all(proof.gap < 1e-7))
        ((5,), True)

    Reference:
        Makkeh, Theis & Vicente, "BROJA-2PID: a robust estimator for bivariate partial information decomposition",
        Entropy 20, 2018.
    """
    coupling, primal, dual, potential_x, potential_y = _solve_tables(check_table(p))
    unit = units_per_nat(2)
    primal, dual = np.asarray(primal * unit), np.asarray(dual * unit)
    union, gap = np.asarray((primal + dual) / 2), np.asarray(primal - dual)
    return Certificate(union, primal, dual, gap, coupling, potential_x, potential_y)


def _solve_tables(p: Table) -> tuple[np.ndarray, ...]:
    """Return coupling, primal and dual bound in nats, λ and μ; the axis of more symbols is eliminated first."""
    if p.shape[-1] <= p.shape[-2]:
        return _over_chunks(_broja, p)
    coupling, primal, dual, potential_y, potential_x = _over_chunks(_broja, np.swapaxes(p, -1, -2))
    return np.swapaxes(coupling, -1, -2), primal, dual, potential_x, potential_y


@jax.jit
def _broja(tables: Float[Array, "T X Y B"]) -> tuple[Array, ...]:
    solution = broja_program.solve(tables)
    return bounds(tables, solution.coupling, solution.potential_x, solution.potential_y)


@jax.jit
def _common_change(tables: Float[Array, "T X Y B"]) -> tuple[Array]:
    return (pointwise_redundancy.common_change_in_surprisal(pointwise_redundancy.largest_entropy(tables)),)


def _over_chunks(program: Any, p: Table) -> tuple[np.ndarray, ...]:
    """Apply a program with the batch in the last axis to chunks of tables of equal size."""
    lead, shape = p.shape[:-3], p.shape[-3:]
    tables = p.reshape(-1, *shape)
    chunk = _chunk_size(len(tables), shape)
    padding = np.full((-len(tables) % chunk or (0 if len(tables) else chunk), *shape), 1 / np.prod(shape))
    tables = np.concatenate([tables, padding]).reshape(-1, chunk, *shape)
    with x64_context():
        results = [program(jnp.asarray(np.moveaxis(part, 0, -1))) for part in tables]
    count = int(np.prod(lead))
    columns = (
        np.concatenate([np.moveaxis(np.asarray(part), -1, 0) for part in column])
        for column in zip(*results, strict=True)
    )
    return tuple(column[:count].reshape((*lead, *column.shape[1:])).astype(np.float64) for column in columns)


def _chunk_size(count: int, shape: tuple[int, ...]) -> int:
    """Return how many tables one call treats: few different numbers, so that few programs are compiled."""
    entries = (shape[0] * min(shape[1:])) ** 2 + shape[0] ** 2 * shape[1] * shape[2]
    fitting = max(MAX_CHUNK_ENTRIES // entries, 1)
    wanted = LARGE_CHUNK if count > SMALL_CHUNK else SMALL_CHUNK
    return wanted if fitting >= wanted else max(1, 2 ** (fitting.bit_length() - 1))
