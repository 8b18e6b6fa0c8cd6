"""Maps between unconstrained parameters and PDE coefficients that are stable for dt = 1.

`constrain` maps any real numbers a and b to stable coefficients; `unconstrain` is its inverse:

    Diffusion            α = 1/2 σ(a)
    Wave                 c = σ(a)
    AdvectionDiffusion   α = 1/2 σ(a),  β = (1 - 2α) tanh(b)      so that 2α + |β| <= 1
    ReactionDiffusion    α = 1/2 σ(a),  β = ±β_max σ(b)           with the sign of the initial value

β_max keeps every weight in [0, 1]. It also keeps at least e^-8 of the mass of a row over all n steps, whether the
reaction spreads the rows (β > 0) or sharpens them (β < 0):

    order            β_max
    strang           8 / n        the exact flow changes a value by a factor of at most e^8
    euler            (1 - 2α) m   a step is order-preserving on [0, 1];  m = 1 - e^(-8/n) if β < 0
    reaction_first   m / n        the single reaction of growth nβ is so, too;  m = 1 - e^(-8)  if β < 0

If β > 0, m = 1 for fisher, and m = 1/2 for allen_cahn, whose slope at u = 1 is -2β. For small β the form β_max σ(b)
behaves like an exponential.

    σ sigmoid, n steps
"""

from math import atanh, exp
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.layers.stable_stencil import MAX_WEIGHT_SUM, check_alpha, logit
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.stencil.arguments import static_number

MAX_GROWTH = 8.0  # e-folds of a reaction: e^8 = 3000 is saturation, and does not round to u = 1 in float32


def constrain(initial: PDE, parameters: dict[str, Float[Array, "*s"]], *, order: str, steps: int) -> PDE:
    """Map unconstrained parameters, by coefficient name, to an equation of the kind of `initial`.

    Raises:
        ValueError: the equation is none of the four.
    """
    _check_equation(initial)
    if isinstance(initial, Wave):
        return Wave(jax.nn.sigmoid(parameters["speed"]))
    alpha = MAX_WEIGHT_SUM * jax.nn.sigmoid(parameters["alpha"])
    if isinstance(initial, AdvectionDiffusion):
        bound = max_abs_beta(initial, alpha, order, steps)
        return AdvectionDiffusion(alpha, bound * jnp.tanh(parameters["beta"]))
    if isinstance(initial, ReactionDiffusion):
        signed_bound = max_abs_beta(initial, alpha, order, steps) * (1 if initial.beta > 0 else -1)
        return ReactionDiffusion(alpha, signed_bound * jax.nn.sigmoid(parameters["beta"]), initial.reaction)
    return Diffusion(alpha)


def _check_equation(initial: Any) -> None:
    if not isinstance(initial, Diffusion | Wave | ReactionDiffusion | AdvectionDiffusion):
        raise ValueError(
            f"a stable set is known for Diffusion, Wave, ReactionDiffusion and AdvectionDiffusion, got "
            f"{type(initial).__name__}; add its map to layers.constraints."
        )


def unconstrain(initial: PDE, *, order: str, steps: int) -> dict[str, float]:
    """Return the parameters that `constrain` maps to `initial`, an equation with floats inside the stable set.

    Raises:
        ValueError: the equation is none of the four.
    """
    _check_equation(initial)
    if isinstance(initial, Wave):
        return {"speed": logit(initial.speed)}
    parameters = {
        name: logit(value / MAX_WEIGHT_SUM)
        for name, value in initial.coefficients().items()
        if name == "alpha"
    }
    if isinstance(initial, AdvectionDiffusion | ReactionDiffusion):
        ratio = initial.beta / max_abs_beta(initial, initial.alpha, order, steps)
        parameters["beta"] = atanh(ratio) if isinstance(initial, AdvectionDiffusion) else logit(abs(ratio))
    return parameters


def max_abs_beta(pde: AdvectionDiffusion | ReactionDiffusion, alpha: Any, order: str, steps: int) -> Any:
    """Return the bound of |β| for the diffusivity `alpha`; only the type of `pde` and the sign of its β matter."""
    if isinstance(pde, AdvectionDiffusion):
        return 1 - 2 * alpha
    steps = max(steps, 1)
    if order == "strang":
        return MAX_GROWTH / steps
    slope = 1.0 if pde.reaction == "fisher" else 0.5
    if pde.beta < 0:
        slope = 1 - exp(-MAX_GROWTH / (steps if order == "euler" else 1))
    return (1 - 2 * alpha) * slope if order == "euler" else slope / steps


def check_initial(initial: PDE, *, order: str, steps: int, learned: bool) -> None:
    """Check that the initial coefficients are inside the stable set.

    A learned coefficient must also not be on the border of the stable set, because no finite parameter maps there.

    Raises:
        ValueError: a coefficient is out of its range, a reaction has beta = 0, or the equation is unknown.
    """
    _check_equation(initial)
    for name, value in initial.coefficients().items():
        static_number(f"PDEAttention: {name}", value)
    if isinstance(initial, Wave):
        if not (0 < initial.speed < 1 or (initial.speed == 1 and not learned)):
            raise ValueError(
                f"PDEAttention needs 0 < speed {'<' if learned else '<='} 1 to be stable, got {initial.speed}; "
                f"choose a smaller speed and more steps."
            )
        return
    if isinstance(initial, AdvectionDiffusion | ReactionDiffusion | Diffusion):
        check_alpha(initial.alpha, "PDEAttention", closed=not learned)
    if isinstance(initial, ReactionDiffusion) and initial.beta == 0:
        raise ValueError(
            "a reaction keeps the sign of its initial beta, got beta=0; use 0.02 to spread the rows, -0.02 to "
            "sharpen them, or kind 'diffusion'."
        )
    if isinstance(initial, AdvectionDiffusion | ReactionDiffusion):
        bound = max_abs_beta(initial, initial.alpha, order, steps)
        if not (abs(initial.beta) < bound or (abs(initial.beta) == bound and not learned)):
            raise ValueError(
                f"PDEAttention needs |beta| {'<' if learned else '<='} {bound:.6g} to be stable with "
                f"alpha={initial.alpha} and {steps} steps, got beta={initial.beta}; choose a smaller beta."
            )
