"""Coefficients that are stable for dt = 1 from free real numbers a and b, whatever these are; and back.

    Diffusion            α = 1/2 σ(a)
    Wave                 c = σ(a)
    AdvectionDiffusion   α = 1/2 σ(a),  β = (1 - 2α) tanh(b)      so that 2α + |β| <= 1
    ReactionDiffusion    α = 1/2 σ(a),  β = ±β_max σ(b)           with the sign of the initial value

σ is the sigmoid. For small β, β_max σ(b) is as good as an exponential; its end keeps weights in [0, 1], and at least
e^-8 of the mass of a row, over all n steps, whether the reaction spreads the rows (β > 0) or sharpens them (β < 0):

    order            β_max
    strang           8 / n        the exact flow changes a value by a factor of e^8 at most
    euler            (1 - 2α) m   a step is order-preserving on [0, 1];  m = 1 - e^(-8/n) if β < 0
    reaction_first   m / n        so is the one reaction, of growth nβ;  m = 1 - e^(-8)   if β < 0

and m = 1 if β > 0, or 1/2 for allen_cahn, whose slope at u = 1 is -2β.

    σ sigmoid, n steps
"""

from math import atanh, exp
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.layers.stable_stencil import BUDGET, check_alpha, logit
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave

GROWTH = 8.0  # e-folds of a reaction: e^8 = 3000 is saturation, and far from the rounding of float32 at u = 1


def stable(initial: PDE, free: dict[str, Float[Array, "*s"]], *, order: str, steps: int) -> PDE:
    """The equation of the kind of `initial` whose coefficients come from the free numbers of their names."""
    if isinstance(initial, Wave):
        return Wave(jax.nn.sigmoid(free["speed"]))
    alpha = BUDGET * jax.nn.sigmoid(free["alpha"])
    if isinstance(initial, AdvectionDiffusion):
        return AdvectionDiffusion(alpha, limit(initial, alpha, order, steps) * jnp.tanh(free["beta"]))
    if isinstance(initial, ReactionDiffusion):
        largest = limit(initial, alpha, order, steps) * (1 if initial.beta > 0 else -1)
        return ReactionDiffusion(alpha, largest * jax.nn.sigmoid(free["beta"]), initial.reaction)
    return Diffusion(alpha)


def free(initial: PDE, *, order: str, steps: int) -> dict[str, float]:
    """The numbers from which `stable` makes `initial`, whose coefficients are floats inside the stable set."""
    if isinstance(initial, Wave):
        return {"speed": logit(initial.speed)}
    numbers = {
        name: logit(value / BUDGET) for name, value in initial.coefficients().items() if name == "alpha"
    }
    if isinstance(initial, AdvectionDiffusion | ReactionDiffusion):
        share = initial.beta / limit(initial, initial.alpha, order, steps)
        numbers["beta"] = atanh(share) if isinstance(initial, AdvectionDiffusion) else logit(abs(share))
    return numbers


def limit(pde: AdvectionDiffusion | ReactionDiffusion, alpha: Any, order: str, steps: int) -> Any:
    """The bound of |β| beside the diffusivity `alpha`; of `pde` only the kind and the sign of β count."""
    if isinstance(pde, AdvectionDiffusion):
        return 1 - 2 * alpha
    steps = max(steps, 1)
    if order == "strang":
        return GROWTH / steps
    most = 1.0 if pde.reaction == "fisher" else 0.5
    if pde.beta < 0:
        most = 1 - exp(-GROWTH / (steps if order == "euler" else 1))
    return (1 - 2 * alpha) * most if order == "euler" else most / steps


def check_initial(initial: PDE, *, order: str, steps: int, learned: bool) -> None:
    """Raises ValueError for an initial coefficient outside the stable set, or on its border if it is learned."""
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
        largest = limit(initial, initial.alpha, order, steps)
        if not (abs(initial.beta) < largest or (abs(initial.beta) == largest and not learned)):
            raise ValueError(
                f"PDEAttention needs |beta| {'<' if learned else '<='} {largest:.6g} to be stable with "
                f"alpha={initial.alpha} and {steps} steps, got beta={initial.beta}; choose a smaller beta."
            )
