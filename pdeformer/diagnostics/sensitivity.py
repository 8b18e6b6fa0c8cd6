"""Sensitivity of a map of hidden states to its input: the norm of its Jacobian, and the top Lyapunov exponent.

Both need only products with the Jacobian J and with its transpose, by `jax.jvp` and `jax.vjp`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class JacobianNorm(NamedTuple):
    """Spectral norm of a Jacobian by power iteration, from `jacobian_norm`.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(JacobianNorm(jnp.asarray(3.0), jnp.asarray(1e-4)).change < 0.01)  # it has converged
        True
    """

    norm: Float[Array, ""]
    """‖J‖₂, the largest growth of a small perturbation; a lower bound until it has converged."""
    change: Float[Array, ""]
    """Relative change of the norm in the last iteration; below 0.01 it has converged."""


def jacobian_norm(
    f: Callable[[Array], Array], u: Float[Array, "*s"], *, key: Key[Array, ""], iterations: int = 20
) -> JacobianNorm:
    """Return the spectral norm ‖∂f/∂u‖₂ by power iteration on JᵀJ.

    Each iteration takes one product with J and one with Jᵀ. The iteration converges like (σ₂/σ₁)^(2k).

    Args:
        f: a map of hidden states, differentiable at `u`.
        u: hidden states, any shape.
        key: draws the first direction.
        iterations: number of iterations k ≥ 1.

    Returns:
        The norm, and its relative change in the last iteration. Both are NaN where `f` is not finite.

    Raises:
        ValueError: `iterations` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> f = lambda u: u * jnp.array([3.0, 1.0])
        >>> round(float(jacobian_norm(f, jnp.ones(2), key=jax.random.key(0)).norm), 3)
        3.0
    """
    if iterations < 1:
        raise ValueError(f"the power iteration takes at least 1 step, got {iterations}; raise iterations.")
    _, product = jax.linearize(f, u)
    _, transposed = jax.vjp(f, u)

    def iterate(direction: Array, _: None) -> tuple[Array, Array]:
        image, log_norm = unit_and_log_norm(product(direction))
        return unit_and_log_norm(transposed(image)[0])[0], jnp.exp(log_norm)

    start = unit_and_log_norm(jax.random.normal(key, u.shape, u.dtype))[0]
    _, norms = jax.lax.scan(iterate, start, length=iterations)
    last, previous = norms[-1], norms[-2] if iterations > 1 else jnp.zeros_like(norms[-1])
    return JacobianNorm(last, jnp.abs(last - previous) / jnp.where(last == 0, 1, last))


def lyapunov_exponent(
    step: Callable[[Array], Array],
    u: Float[Array, "*s"],
    *,
    key: Key[Array, ""],
    steps: int,
    discard: int = 0,
    dt: float = 1.0,
) -> Float[Array, ""]:
    """Return the top Lyapunov exponent of the iteration u ← step(u): the mean log growth of a perturbation.

    A tangent vector is carried along and scaled to 1 after every step [Benettin et al. 1980]:
    λ = 1/(n dt) Σ log ‖Jₖ vₖ‖ over the n steps that are not discarded. For a linear step it is the logarithm of the
    spectral radius, divided by dt. The memory is that of one state.

    Args:
        step: one step of a dynamical system, differentiable.
        u: the initial state, any shape.
        key: draws the first tangent vector.
        steps: number of steps.
        discard: number of first steps in which the tangent vector only aligns; less than `steps`.
        dt: time of one step.

    Returns:
        The exponent per unit of time. Positive means that perturbations grow; -inf that one step forgets them.

    Raises:
        ValueError: no step is left to measure.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> step = lambda u: u * jnp.array([0.5, 2.0])
        >>> exponent = lyapunov_exponent(step, jnp.ones(2), key=jax.random.key(0), steps=60, discard=30)
        >>> round(float(exponent), 3)  # log 2
        0.693

    Reference:
        Benettin, Galgani, Giorgilli, Strelcyn, "Lyapunov characteristic exponents", Meccanica 15, 1980.
    """
    if not 0 <= discard < steps:
        raise ValueError(
            f"0 <= discard < steps leaves steps to measure, got discard={discard}, steps={steps}; raise steps."
        )

    def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        u, tangent = carry
        u, tangent = jax.jvp(step, (u,), (tangent,))
        tangent, growth = unit_and_log_norm(tangent)
        return (u, tangent), growth

    start = unit_and_log_norm(jax.random.normal(key, u.shape, u.dtype))[0]
    _, growth = jax.lax.scan(advance, (u, start), length=steps)
    return jnp.mean(growth[discard:]) / dt


def unit_and_log_norm(tangent: Any) -> tuple[Any, Float[Array, ""]]:
    """Return a pytree of arrays divided by its 2-norm, and the logarithm of the norm, without overflow.

    Args:
        tangent: arrays, whose entries together are one vector.

    Returns:
        The vector of norm 1, or 0 for 0, and log ‖tangent‖, which is -inf for 0.
    """
    size = jnp.max(jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(tangent)]))
    size = jnp.where(size > 0, size, 1)
    scaled = jax.tree.map(lambda x: x / size, tangent)
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(scaled)))
    unit = jax.tree.map(lambda x: x / jnp.where(norm == 0, 1, norm), scaled)
    return unit, jnp.log(size) + jnp.log(norm)
