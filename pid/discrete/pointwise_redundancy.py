"""Redundancies of tables that are averages over outcomes: I_min and common change in surprisal.

    I_min  R = Σ_t p(t) min_{Z in X, Y} Σ_z p(z|t) log p(t|z)/p(t)
    CCS    R = Σ q(t,x,y) c(t,x,y) over the outcomes where i(t;x), i(t;y), i(t;x,y) and c have one sign,
           c = i(t;x) + i(t;y) - i(t;x,y), i(a;b) = log q(a,b) / q(a) q(b)

CCS takes q, the law of largest entropy with the three pairs (T,X), (T,Y) and (X,Y) of the table, by damped Newton steps
on the log-linear form of q. Cells that the pairs force to 0 would need potentials of -∞. The table is therefore mixed
with `MIXTURE` parts of the uniform law on the cells whose pairs exist, which changes R by less than 1e-7 nats.

    T, X, Y sizes of the alphabets, B tables; nats

Reference:
    Williams & Beer, "Nonnegative decomposition of multivariate information", arXiv 1004.2515, 2010. Ince, "Measuring
    multivariate redundant information with pointwise common change in surprisal", Entropy 19, 2017. Sun & Tran-Dinh,
    "Generalized self-concordant functions", Mathematical Programming 178, 2019, for the length of the steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pid.discrete.dense_solve import solve_spd
from pid.discrete.probability_tables import Table

MIXTURE = 1e-10
ZERO_CHANGE = 1e-7
"""A pointwise information below this, in nats, has no sign."""
RIDGE = 1e-13
MAX_STEPS = 100
GOAL = 1e-13


def minimum_specific_information(p: Table) -> Float[np.ndarray, "*b"]:
    """Compute the redundancy I_min of Williams & Beer, in nats."""
    specific = [_specific_information(p.sum(axis)) for axis in (-1, -2)]
    return np.maximum(np.sum(np.minimum(*specific), -1), 0)


def _specific_information(pair: Float[np.ndarray, "*b T Z"]) -> Float[np.ndarray, "*b T"]:
    """Compute p(t) Σ_z p(z|t) log p(t|z)/p(t)."""
    independent = pair.sum(-1, keepdims=True) * pair.sum(-2, keepdims=True)
    exists = pair > 0
    return np.sum(
        np.where(exists, pair * np.log(np.where(exists, pair, 1) / np.where(exists, independent, 1)), 0), -1
    )


def common_change_in_surprisal(q: Float[Array, "T X Y B"]) -> Float[Array, " B"]:
    """Compute the redundancy of CCS from the law of largest entropy, in nats."""
    i_x, i_y, i_joint = (_pointwise(q, axes) for axes in ((2,), (1,), ()))
    change = i_x + i_y - i_joint
    signs = [
        jnp.where(jnp.abs(value) < ZERO_CHANGE, 0, jnp.sign(value)) for value in (i_x, i_y, i_joint, change)
    ]
    agree = (signs[0] == signs[1]) & (signs[1] == signs[2]) & (signs[2] == signs[3])
    return jnp.sum(jnp.where(agree & (q > 0), q * change, 0), (0, 1, 2))


def _pointwise(q: Float[Array, "T X Y B"], axes: tuple[int, ...]) -> Float[Array, "T x y B"]:
    """Compute log q(t,z) / q(t) q(z) for the sources z whose axis is not summed."""
    pair = jnp.sum(q, axes, keepdims=True)
    independent = jnp.sum(pair, 0, keepdims=True) * jnp.sum(pair, (1, 2), keepdims=True)
    exists = pair > 0
    return jnp.log(jnp.where(exists, pair, 1) / jnp.where(exists, independent, 1))


def largest_entropy(table: Float[Array, "T X Y B"]) -> Float[Array, "T X Y B"]:
    """Compute the law of largest entropy with the pairs (T,X), (T,Y) and (X,Y) of each table."""
    shape = table.shape[:3]
    pairs = tuple(jnp.sum(table, axis, keepdims=True) > 0 for axis in (2, 1, 0))
    exists = pairs[0] & pairs[1] & pairs[2]
    uniform = exists / jnp.sum(exists, (0, 1, 2), keepdims=True)
    mixed = (1 - MIXTURE) * table + MIXTURE * uniform
    design = jnp.asarray(_pair_design(shape), table.dtype)  # pairs by cells
    wanted = jnp.einsum("kc,cb->kb", design, mixed.reshape(-1, table.shape[-1]))
    mask = exists.reshape(-1, table.shape[-1])

    def density(potentials: Float[Array, "k B"]) -> Float[Array, "c B"]:
        return jnp.where(mask, jnp.exp(jnp.einsum("kc,kb->cb", design, potentials)), 0)

    def is_open(potentials: Array) -> Array:
        error = jnp.einsum("kc,cb->kb", design, density(potentials)) - wanted
        return jnp.sum(jnp.abs(error), 0) > GOAL

    def advance(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        potentials, moving, count = carry
        q = density(potentials)
        scale = jnp.sqrt(jnp.where(wanted > 0, wanted, 1))
        hessian = jnp.einsum("kc,lc,cb->klb", design, design, q) / scale[:, None] / scale[None]
        eye = jnp.eye(len(design), dtype=q.dtype)[:, :, None]
        absent = (wanted <= 0)[:, None] * eye
        gradient = (wanted - jnp.einsum("kc,cb->kb", design, q)) / scale
        change = solve_spd(hessian + RIDGE * eye + absent, gradient[:, None])[:, 0] / scale
        size = jnp.max(jnp.abs(jnp.where(mask, jnp.einsum("kc,kb->cb", design, change), 0)), 0)
        length = jnp.where(size > 1e-3, jnp.log1p(size) / jnp.where(size > 1e-3, size, 1), 1)
        new = jnp.where(moving[None], potentials + length[None] * change, potentials)
        return new, moving & is_open(new) & jnp.all(jnp.isfinite(new), 0), count + 1

    start = jnp.where(wanted > 0, jnp.log(jnp.where(wanted > 0, wanted, 1)) / 2, 0)
    potentials, _, _ = jax.lax.while_loop(
        lambda carry: jnp.any(carry[1]) & (carry[2] < MAX_STEPS),
        advance,
        (start, is_open(start), jnp.asarray(0)),
    )
    return density(potentials).reshape(table.shape)


def _pair_design(shape: tuple[int, ...]) -> Float[np.ndarray, "k c"]:
    """Return the matrix whose rows sum the cells of each pair (t,x), (t,y), (x,y)."""
    cells = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.concatenate([cells.sum(axis).reshape(len(cells), -1) for axis in (3, 2, 1)], 1).T
