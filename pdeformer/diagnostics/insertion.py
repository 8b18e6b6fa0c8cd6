"""Measures of a smoothing layer that is put into a model: double mixing, the perturbation bound, the gain spectrum.

With the Neumann Laplacian L of the token path, a heat step M = I + αL moves a state u by α‖Lu‖ ≤ 2α √(2 E(u)), since
‖Lu‖² ≤ 4 ‖Du‖² = 8 E(u) for the differences D along the edges. If what follows is the map f, the insertion changes the
result by

    ‖f(Mu) - f(u)‖ ≤ Lip(f) · α‖Lu‖ ≤ Lip(f) · 2α √(2 E(u)),

roughness times amplification. [Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026]

    T tokens, D channels, K taps
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from pdeformer import stencil
from pdeformer.diagnostics.hidden_states import Segments, dirichlet_energy, roughness, zero_padding
from pdeformer.diagnostics.sensitivity import jacobian_norm
from pdeformer.stencil.arguments import convert_segment_ids


def double_mixing(
    after: Float[Array, "*b t d"], before: Float[Array, "*c s e"], segment_ids: Segments | None = None
) -> Float[Array, "*b"]:
    """Return the double-mixing score ρ(after) / ρ(before) of the roughness after and before a sublayer.

    Below 1 the sublayer smooths, so that a diffusion layer behind it mixes a second time.

    Args:
        after: hidden states `(..., T, D)` that the sublayer returns.
        before: hidden states that it reads, of the same tokens.
        segment_ids: int or bool `(..., T)`, 0 for padding; None is one segment without padding.

    Returns:
        The ratio per leading index, ≥ 0. A smooth state that stays smooth gives 1; one that gets rough gives inf.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0], [-1.0], [1.0], [-1.0]])  # roughness 1.5
        >>> round(float(double_mixing(u + 1, u)), 3)  # energy 6, square norm 8
        0.5
    """
    numerator, denominator = roughness(after, segment_ids), roughness(before, segment_ids)
    return jnp.where((numerator == 0) & (denominator == 0), 1, numerator / denominator)


class PerturbationBound(NamedTuple):
    """The insertion of a heat step and its bounds, from `perturbation_bound`.

    Example:
        >>> import jax.numpy as jnp
        >>> bound = PerturbationBound(*(jnp.asarray(x) for x in (0.5, 2.0, 0.3, 0.6, 1.2)))
        >>> bool(bound.change <= bound.bound <= bound.energy_bound)
        True
    """

    change: Float[Array, ""]
    """‖f(Mu) - f(u)‖, measured."""
    lipschitz: Float[Array, ""]
    """The largest spectral norm of the Jacobian of f at points between u and Mu."""
    displacement: Float[Array, ""]
    """α‖Lu‖ = ‖Mu - u‖."""
    bound: Float[Array, ""]
    """lipschitz · α‖Lu‖."""
    energy_bound: Float[Array, ""]
    """lipschitz · 2α √(2 E(u))."""


def perturbation_bound(
    f: Callable[[Array], Array],
    u: Float[Array, "t d"],
    alpha: float,
    *,
    key: Key[Array, ""],
    segment_ids: Segments | None = None,
    iterations: int = 20,
    points: int = 3,
) -> PerturbationBound:
    """Return how much a heat step M = I + αL at u changes f, and the bounds of that.

    The bounds are ‖f(Mu) - f(u)‖ ≤ Lip(f) · α‖Lu‖ ≤ Lip(f) · 2α √(2 E(u)). The Lipschitz constant is local: the largest
    norm of the Jacobian at equally spaced points of the segment from u to Mu. The mean value theorem bounds the change
    by the largest norm on the whole segment, so the measured bound holds up to the points between and the convergence
    of the power iteration.

    Args:
        f: what follows the layer, a map of hidden states to an array of any shape.
        u: hidden states `(T, D)` of one row.
        alpha: diffusivity α of the step, any number ≥ 0.
        key: draws the first direction of the power iteration.
        segment_ids: int or bool `(T,)`, 0 for padding, which is not moved; None is one segment without padding.
        iterations: iterations of `jacobian_norm` at each point.
        points: number of points, at least 1; the first is u, and the last is Mu.

    Returns:
        The measured change, the Lipschitz constant, and both bounds.

    Raises:
        ValueError: `points` or `iterations` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> u = jnp.array([[4.0], [0.0], [0.0]])
        >>> result = perturbation_bound(lambda u: 3 * u, u, 0.25, key=jax.random.key(0))
        >>> round(float(result.change), 3), round(float(result.bound), 3)  # a linear map reaches its bound
        (4.243, 4.243)
    """
    if points < 1:
        raise ValueError(f"the Jacobian is measured at 1 point or more, got {points}; raise points.")
    clean = zero_padding(u, segment_ids)
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    step = alpha * stencil.laplacian(clean, stencil.path(u.shape[-2], ids, "neumann"))
    norms = jnp.stack(
        [
            jacobian_norm(f, u + t * step.astype(u.dtype), key=key, iterations=iterations).norm
            for t in np.linspace(0, 1, points)
        ]
    )
    change = jnp.linalg.norm((f(u + step.astype(u.dtype)) - f(u)).ravel())
    displacement, lipschitz = jnp.linalg.norm(step.ravel()), jnp.max(norms)
    energy = 2 * alpha * jnp.sqrt(2 * dirichlet_energy(clean, segment_ids))
    return PerturbationBound(change, lipschitz, displacement, lipschitz * displacement, lipschitz * energy)


def gain_spectrum(
    taps: Float[Array | np.ndarray, "*b k"], frequencies: Float[Array | np.ndarray, " w"]
) -> Float[Array, "*b w"]:
    """Return the gain |G(ω)| of a stencil, the factor of a wave of ω radians per token.

    |G(ω)| = |Σ_k w_k e^{iωk}|. A heat step has G(ω) = 1 - 4α sin²(ω/2). Its gain at ω = π exceeds 1 beyond the
    stability bound α = 1/2.

    Args:
        taps: weights `(..., K)` of tokens j-K//2 … j+K//2, K odd.
        frequencies: frequencies ω `(W,)` in radians per token.

    Returns:
        The gain `(..., W)`, ≥ 0.

    Raises:
        ValueError: the number of taps is even.

    Example:
        >>> import numpy as np
        >>> gains = gain_spectrum(np.array([0.25, 0.5, 0.25]), np.array([0.0, np.pi / 2, np.pi]))
        >>> [round(float(gain), 3) for gain in gains]
        [1.0, 0.5, 0.0]
    """
    taps, frequencies = jnp.asarray(taps), jnp.asarray(frequencies)
    if taps.shape[-1] % 2 == 0:
        raise ValueError(
            f"a stencil has a middle tap, got {taps.shape[-1]} taps; add a tap of 0 at one side."
        )
    offsets = jnp.arange(taps.shape[-1]) - taps.shape[-1] // 2
    phase = jax.lax.expand_dims(frequencies, [0]) * offsets[:, None]
    real, imaginary = jnp.matmul(taps, jnp.cos(phase)), jnp.matmul(taps, jnp.sin(phase))
    return jnp.hypot(real, imaginary)
