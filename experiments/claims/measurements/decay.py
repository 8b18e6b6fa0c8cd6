"""Claim: "polynomial rather than exponential decay of distant interactions".

A row A(0)_j = e^{-γ|i-j|} evolves by n steps of diffusion. Where |i-j| ≫ 2αn·sinh γ, e^{-γ|i-j|} is an eigenfunction
of the step, so the tail keeps its rate and gains a factor:

    A(n)_j = (1 + α (2 cosh γ - 2))ⁿ e^{-γ|i-j|}

A peak decays polynomially in pseudo-time: A(n)_i ~ (4παn)^{-1/2} for a row that starts as a delta, and a broad row
reaches the exponent -1/2 later. A power law in distance has a constant d ln A / d ln r; for an exponential it is -γ r.
[Zhang & Zhou, "Continuous-Time Attention", 2025]

    T tokens, n steps, r distance in tokens, γ rate per token
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.claims.config import Decay
from experiments.run.report.claim_lines import Line
from pdeformer import Diffusion, evolve, pde_attention_weights


@dataclass(frozen=True)
class DecayResult:
    """Measured decay of attention. Slopes are d ln A / d r, per token; exponents are d ln A / d ln n."""

    rates: tuple[float, ...]
    steps: tuple[int, ...]
    slopes: Float[np.ndarray, "rate n"]
    factors: Float[np.ndarray, "rate n"]
    """Height of the tail after n steps divided by its initial height."""
    predicted_factors: Float[np.ndarray, "rate n"]
    rows: Float[np.ndarray, "n1 r"]
    """The row of the last rate against distance, at the start and after `steps`."""
    log_log: Float[np.ndarray, " n1 r"]
    """d ln A / d ln r of the same rows."""
    peaks: tuple[int, ...]
    delta_peak: Float[np.ndarray, " n"]
    row_peak: Float[np.ndarray, " n"]
    delta_exponents: Float[np.ndarray, " n-1"]
    """Between one number of steps and the next."""
    row_exponents: Float[np.ndarray, " n-1"]
    attention_rate: float
    attention_slopes: Float[np.ndarray, " 2"]
    """Mean causal attention of random queries and keys with a linear distance penalty: before, after."""


def measure(size: Decay) -> DecayResult:
    """Measure tails, peaks and attention. Rows are float64, since a tail spans a hundred orders of magnitude."""
    with jax.enable_x64(new_val=True):
        middle = size.tokens // 2
        distance = np.arange(size.tokens - middle)
        two_sided = np.abs(np.arange(size.tokens) - middle)
        initial = np.exp(-np.multiply.outer(two_sided, size.rates))
        evolved = np.stack([_evolve(initial, size.alpha, n)[middle:] for n in (0, *size.steps)])
        slopes, factors = _tails(evolved, np.array(size.rates), size)
        row = evolved[:, :, -1]
        peaks = np.stack(
            [
                _evolve(np.stack([two_sided == 0, initial[:, -1]], 1), size.alpha, n)[middle]
                for n in size.peaks
            ]
        )
    exponents = np.diff(np.log(peaks), axis=0) / np.diff(np.log(size.peaks))[:, None]
    growth = 1 + size.alpha * (2 * np.cosh(size.rates) - 2)
    return DecayResult(
        rates=size.rates,
        steps=size.steps,
        slopes=slopes,
        factors=factors,
        predicted_factors=growth[:, None] ** np.array(size.steps),
        rows=row,
        log_log=np.gradient(np.log(np.maximum(row, 1e-300)), axis=1) * distance,
        peaks=size.peaks,
        delta_peak=peaks[:, 0],
        row_peak=peaks[:, 1],
        delta_exponents=exponents[:, 0],
        row_exponents=exponents[:, 1],
        attention_rate=size.rates[0],
        attention_slopes=attention_slopes(size),
    )


def _evolve(rows: Float[np.ndarray, "t c"], alpha: float, steps: int) -> Float[np.ndarray, "t c"]:
    # The scan adds positive numbers, so it keeps the relative accuracy of the tail. Spectral modes would not.
    return np.asarray(evolve(jnp.asarray(rows, float), Diffusion(alpha), steps=steps, method="scan"))


def check(size: Decay) -> None:
    """Raise ValueError if the rows are too short for the tails."""
    for rate in size.rates:
        for steps in size.steps:
            tail_window(size, rate, steps)
    needed = 2 * (_first_distance(size) + 2)
    if size.attention_tokens < needed:
        raise ValueError(
            f"the slope of the attention needs {needed} tokens or more, got {size.attention_tokens}; raise "
            f"--decay.attention-tokens or lower --decay.attention-steps."
        )


def _first_distance(size: Decay) -> int:
    """Return the first distance at which the slope of the attention is measured."""
    return int(4 * size.alpha * size.attention_steps * np.sinh(size.rates[0]) + 8)


def tail_window(size: Decay, rate: float, steps: int) -> tuple[int, int]:
    """Return first and last distance of a tail. Raises ValueError if the row is too short."""
    width = np.sqrt(2 * size.alpha * steps)
    first = int(2 * size.alpha * steps * np.sinh(rate) + 8 * width) + 2
    last = min(int(size.tokens - size.tokens // 2 - 8 * width) - 2, int(650 / rate))
    if last < first + 5:
        raise ValueError(
            f"the tail of rate {rate} after {steps} steps begins at distance {first} and must end at {last}; "
            f"raise --decay.tokens or lower --decay.steps."
        )
    return first, last


def _tails(evolved: Float[np.ndarray, "n1 r rate"], rates: Float[np.ndarray, " rate"], size: Decay):
    """Return slope and height of every tail, at least eight kernel widths from the front and from the end."""
    slopes, factors = np.empty((2, len(rates), len(size.steps)))
    for i, rate in enumerate(rates):
        for k, n in enumerate(size.steps):
            first, last = tail_window(size, rate, n)
            window = slice(first, last)
            tail, start = evolved[k + 1, window, i], evolved[0, window, i]
            slopes[i, k] = np.polyfit(np.arange(first, last), np.log(tail), 1)[0]
            factors[i, k] = np.exp(np.mean(np.log(tail / start)))
    return slopes, factors


def attention_slopes(size: Decay) -> Float[np.ndarray, " 2"]:
    """Return the slope of mean softmax attention against distance, before and after the evolution.

    Attention of random queries and keys does not depend on distance. A linear penalty -γ(i-j) on causal logits, written
    as one more channel (1 in the query, γ j in the key), gives it the rate γ on average. [Press et al. 2022]
    """
    tokens, rate, width = size.attention_tokens, size.rates[0], 16
    q, k = jax.random.normal(jax.random.key(0), (2, 8, tokens, 1, width))
    penalty = jnp.broadcast_to(
        rate * jnp.arange(tokens, dtype=q.dtype)[None, :, None, None], (8, tokens, 1, 1)
    )
    query = jnp.concatenate([q / width**0.5, jnp.ones_like(penalty)], -1)
    key = jnp.concatenate([k, penalty], -1)
    distance = np.arange(_first_distance(size), tokens // 2)
    slopes = []
    for steps in (0, size.attention_steps):
        weights = pde_attention_weights(
            query, key, Diffusion(size.alpha), steps=steps, is_causal=True, scale=1.0
        )
        a = np.asarray(weights, np.float64)[:, 0, tokens // 2 :]
        rows = np.arange(tokens // 2, tokens)
        mean = [a[:, np.arange(len(rows)), rows - r].mean() for r in distance]
        slopes.append(np.polyfit(distance, np.log(mean), 1)[0])
    return np.array(slopes)


def verdict(result: DecayResult) -> list[Line]:
    """Judge the claim by the measured numbers."""
    rates = np.array(result.rates)
    worst = np.max(np.abs(result.slopes / -rates[:, None] - 1))
    before, after = result.attention_slopes
    log_log = result.log_log[-1]
    r1, r2 = len(log_log) // 4, len(log_log) // 2
    exponents = ", ".join(f"{x:.3f}" for x in result.row_exponents)
    return [
        Line(
            "distant interactions decay polynomially, not exponentially, in distance",
            f"tails e^(-γr), γ = {', '.join(map(str, result.rates))}: rate after {result.steps[-1]} steps is γ to "
            f"{worst:.0e}; d ln A/d ln r = {log_log[r1]:.0f} at r = {r1}, {log_log[r2]:.0f} at "
            f"r = {r2}; random softmax with penalty γ = {result.attention_rate}: {-before:.4f} → {-after:.4f}",
            "not so: an exponential tail stays exponential at the same rate and is only lifted",
        ),
        Line(
            "what does decay polynomially",
            f"peak against steps {result.peaks[0]}…{result.peaks[-1]}: exponents {exponents} "
            f"(row of rate {result.rates[-1]}), {result.delta_exponents[-1]:.4f} (delta, last)",
            "the peak, in pseudo-time: exponent -1/2, (4παn)^(-1/2)",
        ),
    ]
