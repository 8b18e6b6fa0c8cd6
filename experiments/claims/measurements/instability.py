"""Claim: the official causal step is a diffusion. It amplifies: |G(ω)| = |1 + α(1 - e^{-iω})²|, at ω = π 1 + 4α.

A plane wave e^{iωj} is an eigenfunction of every step away from the ends of the row. Its real and imaginary parts are
two channels. The growth in S steps is measured at the last token, which the start of the row does not affect:

    G_measured = |u_T after| / |u_T before|, u = channel 1 + i · channel 2

|G| > 1 exactly where cos ω < α / (1 + α): beyond 84.8° at α = .1. The symmetric step 1 - 4α sin²(ω/2) stays
within [-1, 1] for α ≤ 1/2, but its copied ends make ‖M‖₂ > 1. Our causal form is a mean over past tokens.

    T tokens, S steps, ω radians per token
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.claims.config import Instability
from experiments.run.report.claim_lines import Line
from pdeformer import Diffusion, cta, evolve

ALPHA = 0.1
"""The official initial value."""


@dataclass(frozen=True)
class InstabilityResult:
    """Gains of amplitude. The map over (α, ω) has gains per step."""

    alphas: Float[np.ndarray, " a"]
    waves: Float[np.ndarray, " w"]
    """Radians per token."""
    measured: Float[np.ndarray, "a w"]
    predicted: Float[np.ndarray, "a w"]
    steps: tuple[int, ...]
    growth: Float[np.ndarray, " s"]
    """Growth of alternating tokens (ω = π) in S official causal steps at α = .1."""
    norms: Float[np.ndarray, " s"]
    """‖M‖₂ of S official symmetric steps at α = .1, with copied ends."""
    profiles: dict[str, Float[np.ndarray, " w"]]
    """Gain in the largest number of steps at α = .1 against ω: official causal, official symmetric, our causal."""
    ours: float
    """Largest gain of our causal form over all waves of the map, α ≤ 1/2, all S."""
    ours_range: float
    """Its largest row sum of absolute weights. If it is 1, no output leaves the range of the input."""
    threshold: float
    """Lowest amplified frequency at α = .1, in degrees, by bisection on the measured gain."""


def gain(alpha: np.ndarray | float, omega: np.ndarray) -> Float[np.ndarray, "..."]:
    """Return |1 + α (1 - e^{-iω})²|."""
    return np.abs(1 + alpha * (1 - np.exp(-1j * omega)) ** 2)


def growth(step, tokens: int, waves: Float[np.ndarray, " w"]) -> Float[np.ndarray, " w"]:
    """Return the growth of the waves under `step`, a map of hidden states (1, T, D)."""
    angle = np.multiply.outer(np.arange(tokens), waves)
    u = jnp.asarray(np.concatenate([np.cos(angle), np.sin(angle)], axis=1), jnp.float32)[None]
    cosine, sine = jnp.split(step(u)[0, -1], 2)
    return np.hypot(cosine, sine)


def check(size: Instability) -> None:
    """Raise ValueError if the start of a row affects its last token."""
    max_steps = max(size.steps)
    if size.tokens < 2 * max_steps + 2:
        raise ValueError(
            f"the start of the row must not affect the last token, got {size.tokens} tokens for {max_steps} steps; "
            f"raise --instability.tokens to {2 * max_steps + 2}."
        )


def measure(size: Instability) -> InstabilityResult:
    """Measure the map of gains, and norms and profiles at the official α."""
    alphas, waves = np.linspace(0, 0.5, size.alphas), np.linspace(0, np.pi, size.waves)
    fine, max_steps = np.linspace(0, np.pi, 181), max(size.steps)
    check(size)

    def official(steps: int, alpha: float = ALPHA, *, causal: bool = True):
        return partial(_refine, alpha=alpha, steps=steps, causal=causal)

    def ours(steps: int, alpha: float = ALPHA):
        return partial(evolve, pde=Diffusion(alpha), steps=steps, causal=True)

    grow = partial(growth, tokens=size.tokens)
    unit = jnp.eye(size.tokens)[None]
    causal_rows = [np.abs(np.asarray(ours(n)(unit)[0])).sum(1).max() for n in size.steps]
    profiles = {"official causal": official(max_steps), "ours, causal": ours(max_steps)}
    symmetric = np.abs(1 - 4 * ALPHA * np.sin(fine / 2) ** 2) ** max_steps
    return InstabilityResult(
        alphas=alphas,
        waves=waves,
        measured=np.stack([grow(official(1, a), waves=waves) for a in alphas]),
        predicted=gain(alphas[:, None], waves),
        steps=size.steps,
        growth=np.array([grow(official(n), waves=np.array([np.pi]))[0] for n in size.steps]),
        norms=np.array([np.linalg.norm(official(n, causal=False)(unit)[0], 2) for n in size.steps]),
        profiles={name: grow(step, waves=fine) for name, step in profiles.items()}
        | {"symmetric, far from its ends": symmetric},
        ours=max(float(grow(ours(n, a), waves=waves).max()) for n in size.steps for a in alphas[1:]),
        ours_range=float(max(causal_rows)),
        threshold=_threshold(official(1), size.tokens),
    )


@partial(jax.jit, static_argnames=("steps", "causal"))
def _refine(x: Array, *, alpha: float, steps: int, causal: bool) -> Array:
    return cta.refine(x, "diffusion", alpha=alpha, steps=steps, causal=causal)


def _threshold(step, tokens: int) -> float:
    low, high = 0.1, np.pi
    for _ in range(16):
        middle = (low + high) / 2
        amplified = growth(step, tokens, np.array([middle]))[0] > 1
        low, high = (low, middle) if amplified else (middle, high)
    return float(np.degrees(high))


def verdict(result: InstabilityResult) -> list[Line]:
    """Judge the claims by the measured numbers."""

    def numbers(values) -> str:
        return ", ".join(f"{x:.3f}" for x in values)

    steps = ", ".join(map(str, result.steps))
    error = np.max(np.abs(result.measured - result.predicted))
    return [
        Line(
            "the official causal step is a diffusion",
            f"alternating tokens grow by {numbers(result.growth)} in {steps} steps at α = .1; every frequency beyond "
            f"{result.threshold:.1f}° grows; |measured - |1 + α(1 - e^(-iω))²|| ≤ {error:.0e}",
            "not so: it amplifies for every α > 0",
        ),
        Line(
            "the symmetric step is stable",
            f"‖M‖₂ = {numbers(result.norms)} after {steps} steps at α = .1",
            "nearly: copied ends let the norm exceed 1",
        ),
        Line(
            "a causal diffusion exists",
            f"ours: largest gain {result.ours:.6f}, largest row of |weights| {result.ours_range:.6f}",
            "yes: the half-line heat kernel",
        ),
    ]
