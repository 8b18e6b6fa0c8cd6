"""Simple NumPy oracles of Gaussian decompositions, and systems with known answers.

Legend: m, x, y the sizes of target M and sources X, Y, dims = (m, x, y); covariances (d, d) hold M, X, Y in that order;
all information in bits; Hx (x, m) and Hy (y, m) the channels of white M with white noise, A = Hx'Hx, B = Hy'Hy.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag, eigh, solve_triangular
from scipy.optimize import minimize, root

# Decompositions of `planted_layer` by 32 t, without and with the knockout, to six decimals.
PLANTED_COLUMNS = (
    "mi_joint", "unique_x", "unique_y", "redundancy", "synergy",
    "knockout_unique_x", "knockout_synergy", "knockout_mi_joint",
)  # fmt: skip
PLANTED = {
    0: (3.209445, 1.725606, 0.678072, 0.257287, 0.548481, 1.725606, 0.548481, 3.209445),
    8: (3.042764, 1.060668, 0.861408, 0.582182, 0.538506, 1.402204, 0.478282, 2.815844),
    16: (2.906110, 0.386295, 1.135841, 0.852696, 0.531279, 1.023363, 0.390529, 2.349250),
    24: (2.852615, 0.0, 1.682271, 0.776618, 0.393727, 0.597524, 0.285196, 1.818078),
    32: (2.930971, 0.0, 2.514807, 0.315197, 0.100967, 0.181874, 0.174888, 1.292121),
}


class Informations(NamedTuple):
    """I(M;X), I(M;Y), I(M;X,Y)."""

    x: float
    y: float
    joint: float


class Atoms(NamedTuple):
    """A decomposition: I(M;X) = R + U_x, I(M;Y) = R + U_y, union = R + U_x + U_y, I(M;X,Y) = union + S."""

    redundancy: float
    unique_x: float
    unique_y: float
    synergy: float
    mi_x: float
    mi_y: float
    mi_joint: float
    union: float


class Optimum(NamedTuple):
    """The smallest union information that the optimizer reached, and a lower bound over all couplings."""

    union: float
    lower: float


class KnownSystem(NamedTuple):
    """A system and its BROJA decomposition: mi_x, mi_y, mi_joint, unique_x, unique_y, redundancy, synergy."""

    cov: np.ndarray
    dims: tuple[int, int, int]
    truth: dict[str, float]


def half_log2(value):
    return 0.5 * np.log2(value)


def half_log2_det(matrix):
    return float(np.linalg.slogdet(matrix)[1] / (2 * np.log(2)))


def conditional(cov, a, b):
    """Compute S_{A|B} = S_A - S_AB S_B⁻¹ S_BA for index arrays a and b."""
    cross = cov[np.ix_(a, b)]
    return cov[np.ix_(a, a)] - cross @ np.linalg.solve(cov[np.ix_(b, b)], cross.T)


def parts(dims):
    """Return the indices of M, X and Y."""
    m, x, y = dims
    return np.split(np.arange(m + x + y), [m, m + x])


def correlation(cov):
    scale = np.sqrt(np.diag(cov))
    return cov / np.outer(scale, scale)


def sample_system(rng, dims):
    """Sample a Wishart covariance of d + 2 degrees of freedom in random units, correlations of condition < 1e4."""
    d = sum(dims)
    while True:
        factor = rng.normal(size=(d, d + 2))
        cov = factor @ factor.T / (d + 2)
        if np.linalg.cond(correlation(cov)) < 1e4:
            units = np.exp(rng.normal(size=d))
            return cov * np.outer(units, units)


def channel_system(hx, hy, noise_xy=None):
    """Compute the covariance of M ~ N(0, I), X = Hx M + n_x, Y = Hy M + n_y, white noises, cov(n_x, n_y) = noise_xy."""
    hx, hy = np.atleast_2d(hx), np.atleast_2d(hy)
    noise_xy = np.zeros((len(hx), len(hy))) if noise_xy is None else np.atleast_2d(noise_xy)
    m = hx.shape[1]
    mixing = np.vstack([np.eye(m), hx, hy])
    cov = mixing @ mixing.T
    cov[m:, m:] += coupled(noise_xy)
    return cov


def coupled(gamma):
    """Return K = [[I, Γ], [Γ', I]]."""
    x, y = gamma.shape
    return np.block([[np.eye(x), gamma], [gamma.T, np.eye(y)]])


def mutual_informations(cov, dims):
    """Compute I(A;B) = ½ log2 det S_A + ½ log2 det S_B - ½ log2 det S_AB."""
    m, x, y = parts(dims)

    def information(a, b):
        joint = np.concatenate([a, b])
        return sum(half_log2_det(cov[np.ix_(i, i)]) for i in (a, b)) - half_log2_det(
            cov[np.ix_(joint, joint)]
        )

    return Informations(information(m, x), information(m, y), information(m, np.concatenate([x, y])))


def atoms_of_union(mi, union):
    """Compute R = I_x + I_y - I_u, U_x = I_u - I_y, U_y = I_u - I_x, S = I_xy - I_u."""
    return Atoms(
        mi.x + mi.y - union, union - mi.y, union - mi.x, mi.joint - union, mi.x, mi.y, mi.joint, union
    )


def mmi(cov, dims):
    """Compute MMI: R = min(I_x, I_y), hence I_u = max(I_x, I_y)."""
    mi = mutual_informations(cov, dims)
    return atoms_of_union(mi, max(mi.x, mi.y))


def closed_form(cov, dims):
    """Compute BROJA: S_{M|Y} v = λ S_{M|X} v, U_x = Σ ½ log2 λ over λ > 1, U_y = Σ ½ log2 1/λ over λ < 1."""
    m, x, y = parts(dims)
    eigenvalues = eigh(conditional(cov, m, y), conditional(cov, m, x), eigvals_only=True)
    logs = half_log2(eigenvalues)
    mi = mutual_informations(cov, dims)
    unique_x, unique_y = float(logs[logs > 0].sum()), float(-logs[logs < 0].sum())
    redundancy = mi.x - unique_x
    union = redundancy + unique_x + unique_y
    return Atoms(redundancy, unique_x, unique_y, mi.joint - union, mi.x, mi.y, mi.joint, union)


def channels(cov, dims):
    """Return Hx and Hy for M, and noises of X and Y given M, whitened by the inverses of their Cholesky factors."""
    m, *sources = parts(dims)
    white = np.linalg.cholesky(cov[np.ix_(m, m)])
    matrices = []
    for source in sources:
        noise = np.linalg.cholesky(conditional(cov, source, m))
        channel = solve_triangular(white, cov[np.ix_(m, source)], lower=True).T
        matrices.append(solve_triangular(noise, channel, lower=True))
    return matrices


def union_of_coupling(cov, dims, gamma):
    """Compute I(M;X,Y) for noises of `channels` with correlation Γ (x, y): at least the union information.

    ½ [log2 det(HH' + K) - log2 det K] = ½ log2 det(I + H' K⁻¹ H), H = [Hx; Hy]. A null direction of K is left out if
    it has no signal, and makes the information infinite if it has one.
    """
    values, vectors = np.linalg.eigh(coupled(np.asarray(gamma)))
    if values[0] < -1e-10:
        raise ValueError(f"a coupling needs singular values <= 1, got {1 - values[0]}")
    signal = vectors.T @ np.vstack(channels(cov, dims))
    null = values < 1e-12
    if np.any(np.abs(signal[null]) > 1e-6):
        return np.inf
    signal = signal[~null] / np.sqrt(values[~null, None])
    return half_log2_det(np.eye(dims[0]) + signal.T @ signal)


def sample_coupling(rng, dims):
    """Sample a feasible Γ (x, y) of spectral norm 0 to 0.999."""
    gamma = rng.normal(size=dims[1:])
    return gamma * rng.uniform(0, 0.999) / np.linalg.norm(gamma, 2)


def optimal_union(cov, dims, starts=3, seed=0):
    """Minimize I(M;X,Y) over Γ by smooth unconstrained descent, without any eigenproblem.

    Every Γ with ΓΓ' < I is Γ = L⁻¹ Z, LL' = I + ZZ', for an unconstrained Z (x, y). L-BFGS runs from several Z, then
    a root search of the gradient. The bound is that of a convex function f over the ball of the spectral norm, with
    G = df/dΓ: min f ≥ f(Γ) + min over ‖S‖ ≤ 1 of ⟨G, S - Γ⟩ = f(Γ) - ⟨G, Γ⟩ - ‖G‖_nuclear.
    f = ½ log det(K + HH') - ½ log det K is convex: its second derivative along E is ½ tr(K⁻¹E)² - ½ tr((K + HH')⁻¹E)².
    """
    hx, hy = channels(cov, dims)
    rng, shape = np.random.default_rng(seed), (len(hx), len(hy))

    def descent(z):
        value, slope = _union_slope(z.reshape(shape), hx, hy)
        return value, slope.ravel()

    optima = []
    options = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 40, "ftol": 0.0, "gtol": 1e-14}
    for k in range(starts):
        start = (k > 0) * rng.normal(size=shape).ravel()
        coarse = minimize(descent, start, jac=True, method="L-BFGS-B", options=options).x
        refined = root(lambda z: descent(z)[1], coarse, method="lm", options={"xtol": 1e-15, "ftol": 1e-15}).x
        optima += [_certified(z.reshape(shape), hx, hy) for z in (coarse, refined)]
    return Optimum(min(optimum.union for optimum in optima), max(optimum.lower for optimum in optima))


def _union_slope(z, hx, hy):
    """Return f(Z) = ½ log det P, nats, and df/dZ, P = I + B + N'N, N = D^-½ (Hx - Γ Hy) = L Hx - Z Hy, D = (LL')⁻¹."""
    lower = np.linalg.cholesky(np.eye(len(z)) + z @ z.T)
    noise_free = lower @ hx - z @ hy
    precision = np.eye(hx.shape[1]) + hy.T @ hy + noise_free.T @ noise_free
    back = np.linalg.solve(precision, noise_free.T).T  # df/dN
    half = np.tril(lower.T @ np.tril(back @ hx.T))
    half[np.diag_indices(len(half))] /= 2
    inner = np.linalg.solve(lower.T, np.linalg.solve(lower.T, half.T).T)
    slope = (inner + inner.T) @ z - back @ hy.T  # the part through LL' = I + ZZ', and the direct part
    return 0.5 * np.linalg.slogdet(precision)[1], slope


def _certified(z, hx, hy):
    """Return the union information at Z and the lower bound of a convex function: df/dΓ = L'N P⁻¹ (N'Z - Hy')."""
    lower = np.linalg.cholesky(np.eye(len(z)) + z @ z.T)
    gamma = solve_triangular(lower, z, lower=True)
    noise_free = lower @ hx - z @ hy
    precision = np.eye(hx.shape[1]) + hy.T @ hy + noise_free.T @ noise_free
    slope = lower.T @ noise_free @ np.linalg.solve(precision, noise_free.T @ z - hy.T)
    gap = np.sum(slope * gamma) + np.linalg.norm(slope, "nuc")
    union = half_log2_det(precision)
    return Optimum(union, union - float(gap) / np.log(2))


def _known_system(cov, mi_x, mi_y, mi_joint, unique_x, unique_y):
    """Make a system with its decomposition: target and sources of equal size, R and S from the identities."""
    size = len(cov) // 3
    redundancy = mi_x - unique_x
    truth = {
        "mi_x": mi_x, "mi_y": mi_y, "mi_joint": mi_joint, "unique_x": unique_x, "unique_y": unique_y,
        "redundancy": redundancy, "synergy": mi_joint - redundancy - unique_x - unique_y,
    }  # fmt: skip
    return KnownSystem(cov, (size, size, size), {name: float(value) for name, value in truth.items()})


def known_answers():
    """Return all Gaussian systems with an analytic answer, by name."""
    return {**_scalar_answers(), **_barrett_answers(), **_gain_answers(), **_angle_answers()}


def _scalar_answers():
    """Scalar target: U_x = I_x - min(I_x, I_y).

    C1: X = M + n1, Y = X + n2, var n2 = v. C2: X = M + n1, Y = n2, corr ρ. C3: X = M + n1, Y = M + n2, corr ρ.
    """
    answers = {}
    for v in (1, 4, 100):
        cov = np.array([[1.0, 1, 1], [1, 2, 2], [1, 2, 2 + v]])
        mi_y = half_log2((2 + v) / (1 + v))
        answers[f"chain, variance {v}"] = _known_system(cov, 0.5, mi_y, 0.5, 0.5 - mi_y, 0.0)
    for r in (0.5, 0.9, 0.99):
        joint = half_log2(1 + 1 / (1 - r**2))
        answers[f"noise alone, correlation {r}"] = _known_system(
            channel_system(1, 0, r), 0.5, 0.0, joint, 0.5, 0.0
        )
    for r in (0.0, 0.5, 0.9, -0.5):
        joint = half_log2(1 + 2 / (1 + r))
        answers[f"equal channels, correlation {r}"] = _known_system(
            channel_system(1, 1, r), 0.5, 0.5, joint, 0.0, 0.0
        )
    return answers


def _barrett_answers():
    """a = r_MX, c = r_MY, b = r_XY: I_xy = ½ log2 (1 - b²) / (1 - a² - b² - c² + 2abc) [Barrett 2015]."""
    a, c = 0.6, 0.4
    mi_x, mi_y = half_log2(1 / (1 - a**2)), half_log2(1 / (1 - c**2))
    answers = {}
    for b in (0.0, 0.24, 0.6, 0.8):
        cov = np.array([[1, a, c], [a, 1, b], [c, b, 1]])
        joint = half_log2((1 - b**2) / (1 - a**2 - b**2 - c**2 + 2 * a * b * c))
        answers[f"Barrett, correlation {b}"] = _known_system(cov, mi_x, mi_y, joint, mi_x - mi_y, 0.0)
    return answers


def _gain_answers():
    """Hx = diag(g, 1), Hy = diag(1, √2), independent noise: λ = (1 + g²) / 2 and 2/3."""
    answers = {}
    for g in (0, 1, 2, 3):
        cov = channel_system(np.diag([g, 1.0]), np.diag([1, 2**0.5]))
        first = half_log2((1 + g**2) / 2)
        answers[f"gain {g}"] = _known_system(
            cov,
            mi_x=half_log2(1 + g**2) + 0.5,
            mi_y=0.5 + half_log2(3),
            mi_joint=half_log2(2 + g**2) + 1,
            unique_x=max(first, 0),
            unique_y=max(-first, 0) + half_log2(3 / 2),
        )
    return answers


def _angle_answers():
    """Hx = diag(√2, 1) Rot(-θ), Hy = diag(1, √2), independent noise, c = cos θ.

    det(P_x - λ P_y) = 6 λ² - (12 + c²) λ + 6, so λ + 1/λ = 2 + 2u, u = c²/12; det(I + A + B) = 15 + c².
    """
    answers = {}
    for name, theta in (("0", 0.0), ("pi/8", np.pi / 8), ("pi/4", np.pi / 4), ("pi/2", np.pi / 2)):
        c, s = np.cos(theta), np.sin(theta)
        cov = channel_system(np.diag([2**0.5, 1]) @ np.array([[c, s], [-s, c]]), np.diag([1, 2**0.5]))
        u = c**2 / 12
        unique = half_log2(1 + u + np.sqrt(u * (u + 2)))
        answers[f"angle {name}"] = _known_system(
            cov, half_log2(6), half_log2(6), half_log2(15 + c**2), unique, unique
        )
    return answers


def independent_copies(rng, cov, dims, copies=2):
    """Return (cov, dims) of independent copies with M, X and Y rotated at random: all atoms × `copies`."""
    order = np.concatenate([(len(cov) * np.arange(copies)[:, None] + part).ravel() for part in parts(dims)])
    cov = np.kron(np.eye(copies), cov)[np.ix_(order, order)]
    dims = tuple(copies * n for n in dims)
    rotation = block_diag(*(np.linalg.qr(rng.normal(size=(n, n)))[0] for n in dims))
    cov = rotation @ cov @ rotation.T
    return (cov + cov.T) / 2, dims


def planted_layer(t, *, knockout=False):
    """Return (cov, dims) of a layer at depth t in [0, 1]: X = a V + n, Y = b V + Q + n', M = W_v V + W_q Q.

    V, Q, n, n' are white, a = 2 - 1.5 t, b = 2 t (0 under knockout), W_v = diag cos θ, W_q = diag sin θ,
    θ = 0, π/6, π/3, π/2.
    """
    a, b = 2 - 1.5 * t, 0.0 if knockout else 2.0 * t
    theta, eye, zero = np.pi * np.arange(4) / 6, np.eye(4), np.zeros((4, 4))
    w_v, w_q = np.diag(np.cos(theta)), np.diag(np.sin(theta))
    mix = np.block(
        [[w_v, w_q, zero, zero], [a * eye, zero, eye, zero], [b * eye, eye, zero, eye]]
    )  # of V, Q, n, n'
    return mix @ mix.T, (4, 4, 4)


def structured_system(d):
    """Diagonal channels, independent noise: gain 2 in both on 4 axes, 3/2 in X alone on 2 and in Y alone on 3, else 0.

    R = 4 · ½ log2 5, U_x = 2 · ½ log2 13/4, U_y = 3 · ½ log2 13/4, S = 4 · ½ log2 9/5.
    """
    if d < 9:
        raise ValueError(f"the structured system needs d >= 9 axes, got {d}")
    gain_x, gain_y = np.zeros(d), np.zeros(d)
    gain_x[:4], gain_y[:4] = 2, 2
    gain_x[4:6], gain_y[6:9] = 1.5, 1.5
    shared, alone = 4 * half_log2(5), half_log2(13 / 4)
    cov = channel_system(np.diag(gain_x), np.diag(gain_y))
    joint = 4 * half_log2(9) + 5 * alone
    return _known_system(cov, shared + 2 * alone, shared + 3 * alone, joint, 2 * alone, 3 * alone)
