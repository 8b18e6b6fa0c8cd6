"""Mutual information of jointly Gaussian variables, from the posterior covariances of the target.

    I(M;X) = ½ log det S_M / det S_{M|X},      S_{M|X} = S_M - S_MX S_X⁻¹ S_XM

and the same for Y and for the pair (X, Y). [Venkatesh, Bennett, Gale, Ramirez, Heller, Durand, Olsen & Mihalas,
"Gaussian Partial Information Decomposition", NeurIPS 2023; standard results on Gaussian vectors]

    m, x, y widths of target and sources, d their sum
"""

from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pid.gaussian import covariance, systems
from pid.gaussian.covariance import Dims, Tolerance, highest_precision
from pid.gaussian.systems import InformationMeasure


class MI(NamedTuple):
    """Mutual information of the target with x, with y, and with both.

    Example:
        >>> from pid import MI
        >>> mi = MI(x=0.5, y=0.25, joint=1.0)
        >>> mi.joint - mi.x  # what y adds to x
        0.5
    """

    x: Float[Array | np.ndarray, "*b"]
    """I(M;X) ≥ 0, of the batch shape, in bits unless `base` says otherwise."""

    y: Float[Array | np.ndarray, "*b"]
    """I(M;Y) ≥ 0, of the batch shape and in the same unit."""

    joint: Float[Array | np.ndarray, "*b"]
    """I(M;X,Y), at least as large as both; infinite where the target is a function of the sources."""


class ConditionalMI(NamedTuple):
    """Mutual information of the target with one source, given the other.

    Example:
        >>> from pid import ConditionalMI
        >>> ConditionalMI(x=0.5, y=0.25).x
        0.5
    """

    x: Float[Array | np.ndarray, "*b"]
    """I(M;X|Y) = U_x + S ≥ 0: what x adds to y."""

    y: Float[Array | np.ndarray, "*b"]
    """I(M;Y|X) = U_y + S ≥ 0: what y adds to x."""


@overload
def mutual_information(
    cov: Any, dims: tuple[int, int], *, base: Any = 2
) -> Float[Array | np.ndarray, "*b"]: ...


@overload
def mutual_information(cov: Any, dims: Any, *, base: Any = 2) -> MI: ...


def mutual_information(cov: Any, dims: Any, *, base: Any = 2) -> Any:
    """Compute the mutual information of a jointly Gaussian target with source x, with source y, and with both.

        I(M;X) = ½ log det S_M / det S_{M|X},      S_{M|X} = S_M - S_MX S_X⁻¹ S_XM

    Directions that do not exist (constant, duplicated or collinear features, y = x) are left out and change nothing.
    A target that is a function of a source has infinite information. With two dims it is that of two variables.

    Args:
        cov: covariances `(..., d, d)` of real numbers, coordinates in the order target, x, y. Any scale.
        dims: (d_target, d_x, d_y), three positive integers that add up to d; or (d_a, d_b) for two variables.
        base: base of the logarithm, above 1: 2 gives bits, `math.e` nats.

    Returns:
        MI, each field of the shape of the leading axes; for two variables I(A;B) of this shape. A concrete covariance
        is computed in float64 where the device has it. NumPy arrays come back as NumPy float64, JAX arrays in their
        dtype.

    Raises:
        ValueError: dims that do not fit; a concrete covariance that is not finite, symmetric (to 1e-10 on the
            correlation scale, float32 1e-5) or positive semidefinite (smallest eigenvalue at least -1e-9, float32
            -1e-4). Under a trace nothing is checked.

    Example:
        >>> import numpy as np
        >>> from pid import mutual_information
        >>> cov = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 4.0]])  # x = m + n_1, y = m + √3 n_2
        >>> mi = mutual_information(cov, dims=(1, 1, 1))
        >>> [round(float(value), 3) for value in mi]
        [0.5, 0.208, 0.611]
        >>> round(float(mutual_information([[1, 1], [1, 2]], dims=(1, 1))), 3)
        0.5
    """
    cov = covariance.to_covariance(cov)
    if np.ndim(dims) == 1 and len(dims) == 2:
        return _pair_information(cov, covariance.check_dims(dims, ("a", "b")), base)
    measure = Information(covariance.check_shape(cov, dims), covariance.tolerance_of(cov.dtype))
    values = systems.compute(measure, cov, base)
    return MI(*(values[..., i] for i in range(3)))


@highest_precision
def _pair_information(cov: Any, dims: tuple[int, ...], base: Any) -> Any:
    """Compute I(A;B) as I(M;X) with an independent y of one coordinate."""
    covariance.check_size(cov, dims, "a, b")
    a, b = dims
    xp = jnp if isinstance(cov, jax.Array) else np
    padded = xp.pad(cov, [(0, 0)] * (cov.ndim - 2) + [(0, 1), (0, 1)])
    padded = padded + xp.asarray(np.diag([0] * (a + b) + [1]), cov.dtype).reshape(
        (1,) * (cov.ndim - 2) + padded.shape[-2:]
    )
    return systems.compute(Information((a, b, 1), covariance.tolerance_of(cov.dtype)), padded, base)[..., 0]


@highest_precision
def conditional_information(cov: Any, dims: Any, *, base: Any = 2) -> ConditionalMI:
    """Compute the mutual information of a jointly Gaussian target with each source, given the other source.

        I(M;X|Y) = ½ log det S_{M|Y} / det S_{M|XY} = I(M;X,Y) - I(M;Y)

    Any decomposition splits it into unique information and synergy, U_x + S. It is finite where y determines as many
    directions of the target as both sources do.

    Args:
        cov: covariances `(..., d, d)` of real numbers, coordinates in the order target, x, y. Any scale.
        dims: (d_target, d_x, d_y), three positive integers that add up to d.
        base: base of the logarithm, above 1: 2 gives bits, `math.e` nats.

    Returns:
        ConditionalMI, each field of the shape of the leading axes, computed and returned as in `mutual_information`.

    Raises:
        ValueError: the cases of `mutual_information`.

    Example:
        >>> import numpy as np
        >>> from pid import conditional_information
        >>> cov = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 4.0]])  # x = m + n_1, y = m + √3 n_2
        >>> [round(float(value), 3) for value in conditional_information(cov, dims=(1, 1, 1))]
        [0.404, 0.111]
    """
    cov = covariance.to_covariance(cov)
    measure = ConditionalInformation(covariance.check_shape(cov, dims), covariance.tolerance_of(cov.dtype))
    values = systems.compute(measure, cov, base)
    return ConditionalMI(values[..., 0], values[..., 1])


def information_correlation(information: Any, *, base: Any = 2) -> Any:
    """Return the correlation of two Gaussian numbers that have this mutual information, √(1 - base^(-2 I)).

    It maps information to [0, 1]: 0 is independence, 1 a deterministic relation. [Linfoot, "An informational measure
    of correlation", 1957]

    Args:
        information: mutual information, any shape. Estimates below 0 count as 0.
        base: base of its logarithm, above 1: 2 for bits, `math.e` for nats.

    Returns:
        Array of the same shape.

    Raises:
        ValueError: a base that is not a number above 1.

    Example:
        >>> from pid import information_correlation
        >>> round(float(information_correlation(1.0)), 3)
        0.866
    """
    nats_per_unit = 1 / covariance.units_per_nat(base)
    xp = jnp if isinstance(information, jax.Array) else np
    return xp.sqrt(-xp.expm1(-2 * nats_per_unit * xp.maximum(xp.asarray(information), 0)))


@highest_precision
def entropy(cov: Float[Array, "*b d d"], *, base: Any = 2) -> Float[Array, "*b"]:
    """Compute the differential entropy ½ log det(2πe S) of a Gaussian with non-singular covariance S."""
    log_determinant = jnp.linalg.slogdet(cov)[1]
    return (log_determinant + cov.shape[-1] * (1 + np.log(2 * np.pi))) / 2 * covariance.units_per_nat(base)


class Posteriors(NamedTuple):
    """Posterior covariances of the target by Cholesky factors; see `posteriors_from_cholesky`."""

    log_det_prior: Float[Array, ""]
    """log det S_M."""

    x: Float[Array, "m m"]
    """S_{M|X}."""

    y: Float[Array, "m m"]
    """S_{M|Y}."""

    log_det_joint: Float[Array, ""]
    """log det S_{M|XY}."""

    pivot: Float[Array, ""]
    """Smallest squared pivot of the factors."""


def posteriors_from_cholesky(corr: Float[Array, "d d"], dims: Dims) -> Posteriors:
    """Compute the posterior covariances of the target from one Cholesky factor of (x, y, target) and one of y.

    The last diagonal block of the first is the factor of S_{M|XY}.
    """
    m, x, _ = dims
    s = covariance.blocks(corr, dims)
    sources_first = jnp.roll(corr, (-m, -m), (0, 1))
    factor_joint, factor_y, factor_prior = cholesky(sources_first), cholesky(s.yy), cholesky(s.mm)
    cross_x = factor_joint[-m:, :x]
    cross_y = solve_triangular(factor_y, s.my.T, lower=True)
    pivots = [jnp.diagonal(factor) for factor in (factor_joint, factor_y, factor_prior)]
    return Posteriors(
        log_det_prior=log_det(factor_prior),
        x=s.mm - cross_x @ cross_x.T,
        y=s.mm - cross_y.T @ cross_y,
        log_det_joint=log_det(factor_joint[-m:, -m:]),
        pivot=jnp.min(jnp.concatenate(pivots)) ** 2,
    )


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the lower Cholesky factor, or NaN if there is none."""
    return jnp.linalg.cholesky(matrix, symmetrize_input=False)


def log_det(factor: Float[Array, "n n"]) -> Float[Array, ""]:
    """Return the log-determinant of L Lᵀ, from its factor L."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))


class WhitePosteriors(NamedTuple):
    """Posterior covariances in white target coordinates, for covariances that may be singular.

    Directions of the target that do not exist have posterior variance 1, so they contribute no information.
    """

    whiten: Float[Array, "m m"]
    """W with Wᵀ S_M W = 1 on the directions that exist and 0 elsewhere."""

    x: Float[Array, "m m"]
    """Wᵀ S_{M|X} W."""

    y: Float[Array, "m m"]
    """Wᵀ S_{M|Y} W."""

    joint: Float[Array, "m m"]
    """Wᵀ S_{M|XY} W."""

    gain_x: Float[Array, "m x"]
    """The regression S_MX S_X⁺."""

    gain_y: Float[Array, "m y"]
    """The regression S_MY S_Y⁺."""

    gain_joint: Float[Array, "m xy"]
    """The regression on both sources."""


def posteriors_from_eigh(corr: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> WhitePosteriors:
    """Compute the posterior covariances of the target from eigenvalues, for a covariance that may be singular."""
    m, x, _ = dims
    white = whitener(corr[:m, :m], tolerance.rank)
    sources = {"x": slice(m, m + x), "y": slice(m + x, None), "joint": slice(m, None)}
    posterior, gain = {}, {}
    for name, columns in sources.items():
        source_white = whitener(corr[columns, columns], tolerance.rank)
        cross = white.T @ corr[:m, columns] @ source_white
        posterior[name] = jnp.eye(m, dtype=corr.dtype) - cross @ cross.T
        gain[f"gain_{name}"] = corr[:m, columns] @ source_white @ source_white.T
    return WhitePosteriors(white, **posterior, **gain)


def whitener(matrix: Float[Array, "n n"], rank: float) -> Float[Array, "n n"]:
    """Return W with Wᵀ S W = 1 on the eigenvectors that exist; all other columns are zero."""
    values, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
    exists = values > rank * jnp.maximum(values[-1], rank)
    return vectors * jnp.where(exists, 1 / jnp.sqrt(jnp.where(exists, values, 1)), 0)[None, :]


class Spectrum(NamedTuple):
    """Log-determinant over the non-zero eigenvalues of a posterior, and the number of zero ones."""

    log_det: Float[Array, ""]
    """Sum of the logarithms of the non-zero eigenvalues."""

    num_zeros: Float[Array, ""]
    """Number of zero eigenvalues: directions of the target that are known exactly."""


def spectrum(posterior: Float[Array, "m m"], zero: float) -> Spectrum:
    """Compute the spectrum of a posterior covariance in white coordinates; eigenvalues below `zero` count as zero."""
    values = jnp.linalg.eigvalsh(posterior, symmetrize_input=False)
    is_zero = values < zero
    return Spectrum(jnp.sum(jnp.log(jnp.where(is_zero, 1, values))), jnp.sum(is_zero, dtype=values.dtype))


def information_from_spectrum(posterior: Spectrum) -> Float[Array, ""]:
    """Return -½ log det of a posterior in white coordinates; infinite where a direction is known exactly."""
    return jnp.where(posterior.num_zeros > 0, jnp.inf, -posterior.log_det / 2)


class Information(InformationMeasure):
    """The measure (I(M;X), I(M;Y), I(M;X,Y))."""

    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Compute ½ (log det S_M - log det S_{M|·}) by Cholesky factors, and the smallest squared pivot."""
        posteriors = posteriors_from_cholesky(corr, self.dims)
        factors = [cholesky(posteriors.x), cholesky(posteriors.y)]
        logs = jnp.stack([*map(log_det, factors), posteriors.log_det_joint])
        pivots = [jnp.min(jnp.diagonal(factor)) ** 2 for factor in factors]
        return (posteriors.log_det_prior - logs) / 2, jnp.min(jnp.stack([posteriors.pivot, *pivots]))

    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """Compute -½ log det in white coordinates; infinite where a direction is known exactly."""
        posteriors = posteriors_from_eigh(corr, self.dims, self.tolerance)
        zero = self.tolerance.zero_variance
        covs = (posteriors.x, posteriors.y, posteriors.joint)
        return jnp.stack([information_from_spectrum(spectrum(cov, zero)) for cov in covs])

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """Compute ½ (Eᵀ S_M⁺ E - Jᵀ S_{M|X}⁺ J), where J u = u_M - S_MX S_X⁺ u_X is the residual."""
        return information_gradients(posteriors_from_eigh(corr, self.dims, self.tolerance), self.dims)


def information_gradients(posteriors: WhitePosteriors, dims: Dims) -> Float[Array, "k d d"]:
    """Compute the derivatives of (I(M;X), I(M;Y), I(M;X,Y)) by the covariance; see `Information.gradient`."""
    residuals = residual_maps(posteriors, dims)
    white = posteriors.whiten
    prior = jnp.pad(white @ white.T, (0, dims[1] + dims[2]))
    inverses = [white @ jnp.linalg.inv(v) @ white.T for v in (posteriors.x, posteriors.y, posteriors.joint)]
    return jnp.stack([(prior - j.T @ p @ j) / 2 for j, p in zip(residuals, inverses, strict=True)])


def residual_maps(posteriors: WhitePosteriors, dims: Dims) -> tuple[Array, Array, Array]:
    """Return the maps J, (m, d), from all coordinates to the target's residuals given x, y, and both."""
    m, x, y = dims
    target = jnp.eye(m, dtype=posteriors.whiten.dtype)

    def residual_map(gain: Array, before: int, after: int) -> Float[Array, "m d"]:
        return jnp.concatenate([target, jnp.pad(-gain, ((0, 0), (before, after)))], axis=1)

    return (
        residual_map(posteriors.gain_x, 0, y),
        residual_map(posteriors.gain_y, x, 0),
        residual_map(posteriors.gain_joint, 0, 0),
    )


class ConditionalInformation(InformationMeasure):
    """The measure (I(M;X|Y), I(M;Y|X))."""

    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Compute the differences of the joint information and that of the other source."""
        (x, y, joint), pivot = Information(self.dims, self.tolerance).from_cholesky(corr)
        return jnp.stack([joint - y, joint - x]), pivot

    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """Compute ½ (log det S_{M|Y} - log det S_{M|XY}) over the directions that the sources leave open."""
        return jnp.stack(conditional_from_spectra(*spectra(corr, self.dims, self.tolerance)))

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """Compute the differences of the derivatives of the mutual informations."""
        x, y, joint = Information(self.dims, self.tolerance).gradient(corr)
        return jnp.stack([joint - y, joint - x])


def spectra(
    corr: Float[Array, "d d"], dims: Dims, tolerance: Tolerance
) -> tuple[Spectrum, Spectrum, Spectrum]:
    """Compute the spectra of the posteriors given x, given y, and given both."""
    posteriors = posteriors_from_eigh(corr, dims, tolerance)
    x, y, joint = (
        spectrum(cov, tolerance.zero_variance) for cov in (posteriors.x, posteriors.y, posteriors.joint)
    )
    return x, y, joint


def conditional_from_spectra(x: Spectrum, y: Spectrum, joint: Spectrum) -> tuple[Array, Array]:
    """Return I(M;X|Y) and I(M;Y|X).

    Each is finite where the other source determines as many directions of the target as both do.
    """
    more_x, more_y = (
        jnp.where(joint.num_zeros > single.num_zeros, jnp.inf, (single.log_det - joint.log_det) / 2)
        for single in (y, x)
    )
    return more_x, more_y
