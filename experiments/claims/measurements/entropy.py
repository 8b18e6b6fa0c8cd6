"""Claim: the evolution smooths attention.

The measurement is the entropy of attention rows against pseudo-time, for the four equations.

    H = mean over rows of -Σ_s A_s log₂ A_s, in bits; a uniform row has log₂ S

Diffusion along the keys is doubly stochastic, so H never falls and converges to log₂ S. The deficit log₂ S - H finally
decays as λ^{2n}, λ = 1 - 2α(1 - cos(π/S)) (spectral gap 1 - λ). Advection-diffusion converges to rows proportional to
(α/(α+β))^s, whose entropy is below log₂ S. The wave equation on weights makes negative entries, for which entropy is
undefined. It is therefore measured on logits, and its smallest entry on weights is reported.

    B batch, S tokens, N heads
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.claims.config import Entropy
from experiments.run.report.claim_lines import Line
from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, pde_attention_weights

EQUATIONS: dict[str, tuple[Any, Literal["weights", "logits"]]] = {
    "diffusion": (Diffusion(0.1), "weights"),
    "advection-diffusion": (AdvectionDiffusion(0.1, 0.03), "weights"),
    "reaction-diffusion": (ReactionDiffusion(0.1, 0.02), "weights"),
    "wave, on logits": (Wave(0.15), "logits"),
}
"""Name -> (equation with the official initial coefficients, target of the evolution)."""


@dataclass(frozen=True)
class EntropyResult:
    """Entropies in bits, means over rows and heads."""

    steps: tuple[int, ...]
    bits: dict[str, Float[np.ndarray, " n"]]
    uniform: float
    """log₂ S."""
    advected: float
    """Entropy of the stationary row of advection-diffusion."""
    largest_fall: float
    """Largest fall of a row's entropy between two measurements under diffusion; 0 if none."""
    gap: float
    """Spectral gap 1 - λ of the diffusion step."""
    measured_gap: float
    """The spectral gap from the decay of the deficit log₂ S - H between the last two measurements."""
    smallest_wave_weight: float
    """Smallest entry of weights evolved by the wave equation, over all measurements."""


def bits(weights: Float[Array | np.ndarray, "*b s"]) -> Float[np.ndarray, "*b"]:
    """Return the entropy of every row in bits, with 0 log 0 = 0."""
    a = np.asarray(weights, np.float64)
    return -np.sum(a * np.log2(np.where(a > 0, a, 1)), axis=-1)


def measure(size: Entropy, seed: int = 0) -> EntropyResult:
    """Evolve the attention of random queries and keys, with logits of standard deviation `gain`, in float64."""
    with jax.enable_x64(new_val=True):
        q, k = jax.random.normal(jax.random.key(seed), (2, 1, size.tokens, size.heads, 16), jnp.float64)

        def weights(pde: Any, target: Literal["weights", "logits"], steps: int) -> Array:
            return pde_attention_weights(q, k, pde, steps=steps, target=target, scale=size.gain / 4)

        rows = {
            name: np.stack([bits(weights(pde, target, n)) for n in size.steps])
            for name, (pde, target) in EQUATIONS.items()
        }
        wave = [float(weights(Wave(0.15), "weights", n).min()) for n in size.steps]
    uniform = float(np.log2(size.tokens))
    stationary = (0.1 / 0.13) ** np.arange(size.tokens)
    means = {name: x.mean(axis=(1, 2, 3)) for name, x in rows.items()}
    deficit = uniform - means["diffusion"][-2:]
    rate = -np.diff(np.log(deficit))[0] / (2 * np.diff(size.steps)[-1])
    return EntropyResult(
        steps=size.steps,
        bits=means,
        uniform=uniform,
        advected=float(bits(stationary / stationary.sum())),
        largest_fall=max(0.0, float(-np.diff(rows["diffusion"], axis=0).min())),
        gap=0.2 * (1 - np.cos(np.pi / size.tokens)),
        measured_gap=float(-np.expm1(-rate)),
        smallest_wave_weight=min(wave),
    )


def verdict(result: EntropyResult) -> list[Line]:
    """Judge the claims by the measured numbers."""
    ends = "; ".join(f"{name} {x[0]:.2f} → {x[-1]:.2f}" for name, x in result.bits.items())
    wave = result.bits["wave, on logits"]
    turns = int(np.sum(np.diff(np.sign(np.diff(wave))) != 0))
    return [
        Line(
            "the evolution smooths attention",
            f"entropy in bits, 0 → {result.steps[-1]} steps (uniform {result.uniform:.2f}): {ends}",
            "diffusion and reaction end uniform (all positions alike), advection at the wall; "
            f"the wave does not settle ({turns} turns)",
        ),
        Line(
            "it converges",
            f"largest fall of a row's entropy under diffusion {result.largest_fall:.1g} bits; spectral gap "
            f"{result.measured_gap:.3g}, predicted {result.gap:.3g}",
            "true for diffusion, at a rate that falls as 1/S²",
        ),
        Line(
            "the wave equation acts on attention weights",
            f"smallest weight {result.smallest_wave_weight:.3f}",
            "negative entries: no distribution, no entropy; evolve the logits",
        ),
    ]
