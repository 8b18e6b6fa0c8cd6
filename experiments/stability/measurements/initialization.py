"""Claim: residual connections prevent drift, LayerNorm prevents explosion. Measured at random weights.

Every combination of residual ρ ∈ {1, 0}, norm, gain, diffusivity and order in time is one network. One run of the
deepest network is read at all depths, since the first layers of a deep network are the shallow one. Settings share
weights and inputs, so differences are paired by seed. The reference is the standard network (ρ = 1, pre-LN, D = 0,
order 1) of the same seed and gain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from experiments.run.report.claim_lines import Line, by_sign, interval, power_of_ten
from experiments.run.report.paired import mean_difference
from experiments.stability.config import Initialization, Network
from experiments.stability.measurements.random_networks import (
    NORMS,
    Measured,
    combinations,
    draw_networks,
    initial_norm,
    make_config,
    simulate_settings,
    trajectories,
)
from pdeformer.simulator import Coefficients, StateStatistics

ORDERS = (1, 2)
RESIDUALS = (1.0, 0.0)
COLLAPSED = 0.99  # token similarity from which all tokens count as one
EXPLODED = 1e6  # growth of the norm from which a network counts as exploded


@dataclass(frozen=True)
class InitializationResult:
    """Numbers of every network. Axes: order, norm, residual, gain, diffusivity, seed, layer.

    Order 2 is measured with norm "pre" only; elsewhere its numbers are NaN.
    """

    gains: tuple[float, ...]
    diffusivities: tuple[float, ...]
    seeds: tuple[int, ...]
    depths: tuple[int, ...]
    initial_norm: Float[np.ndarray, " seed"]
    """Root mean square of the first state."""
    statistics: dict[str, Float[np.ndarray, "2 3 2 g d s l"]]
    """Name of the statistic -> its values."""
    growth: Float[np.ndarray, "2 3 2 g d s l"]
    """Natural logarithm of the growth of a random perturbation in every layer."""
    first_nonfinite: Int[np.ndarray, "2 3 2 g d s"]
    """First layer after which the state is not finite; -1 if none."""

    def values(
        self,
        name: str,
        depth: int,
        *,
        norm: str,
        residual: float = 1.0,
        gain: float | None = None,
        order: int = 1,
        diffusivity: int = 0,
    ) -> Float[np.ndarray, " seed"]:
        """Return a statistic after `depth` layers, by seed; `gain` None is the smallest, `diffusivity` an index."""
        source = self.growth.cumsum(-1) if name == "growth" else self.statistics[name]
        index = (ORDERS.index(order), NORMS.index(norm), RESIDUALS.index(residual))
        gain_index = 0 if gain is None else self.gains.index(gain)
        return source[(*index, gain_index, diffusivity, slice(None), depth - 1)]

    def norm_growth(self, depth: int, **setting) -> Float[np.ndarray, " seed"]:
        """Return ‖u_depth‖ / ‖u_0‖ by seed; inf where the state is not finite."""
        growth = self.values("norm", depth, **setting) / self.initial_norm
        return np.where(np.isnan(growth), np.inf, growth)


def measure(size: Initialization, network: Network, seeds: tuple[int, ...]) -> InitializationResult:
    """Simulate all networks: one program for each norm, and one for order 2."""
    layers = max(size.depths)
    standard = make_config(network, layers)
    networks = draw_networks(network, standard, size.gains, seeds)
    reference = trajectories(networks, network, standard)
    residual, diffusivity = combinations(RESIDUALS, size.diffusivities)
    ones = np.ones_like(residual)
    settings = Coefficients(residual, ones, ones, diffusivity, 0 * ones, ones)
    parallel = make_config(network, layers, order=2, splitting="parallel")
    configs = [(1, norm, make_config(network, layers, norm=norm)) for norm in NORMS] + [(2, "pre", parallel)]
    runs = {
        (order, norm): simulate_settings(networks, settings, network, config, reference)
        for order, norm, config in configs
    }
    inner = (len(size.gains), len(seeds), len(RESIDUALS), len(size.diffusivities))

    def stack(read: Callable[[Measured], np.ndarray]) -> np.ndarray:
        sample = read(runs[1, "pre"])
        missing = np.full(sample.shape, np.nan if sample.dtype.kind == "f" else -1, sample.dtype)
        values = [
            read(runs[key]) if (key := (order, norm)) in runs else missing
            for order in ORDERS
            for norm in NORMS
        ]
        array = np.stack(values).reshape(len(ORDERS), len(NORMS), *inner, *sample.shape[2:])
        return np.moveaxis(array, (2, 3, 4, 5), (3, 5, 2, 4))

    return InitializationResult(
        size.gains,
        size.diffusivities,
        seeds,
        size.depths,
        initial_norm(network, seeds),
        {name: stack(partial(_statistic, name)) for name in StateStatistics._fields},
        stack(lambda run: run.growth),
        stack(lambda run: run.first_nonfinite),
    )


def _statistic(name: str, run: Measured) -> np.ndarray:
    return getattr(run.statistics, name)


def verdict(result: InitializationResult) -> list[Line]:
    """Judge the claims by the measured numbers."""
    return [
        *_collapse(result),
        _drift(result),
        _explosion(result),
        _both(result),
        _second_order(result),
        *_diffusion(result),
    ]


def _collapse(result: InitializationResult) -> list[Line]:
    depth, lines = result.depths[0], []
    for norm in NORMS:
        without = result.values("token_similarity", depth, norm=norm, residual=0.0)
        standard = result.values("token_similarity", depth, norm=norm)
        rank = result.values("effective_rank", depth, norm=norm, residual=0.0)
        collapsed = bool(np.all(without > COLLAPSED))
        lines.append(
            Line(
                f"without residual connection the tokens become one (norm {norm})",
                f"token similarity after {depth} layers {interval(without, 4)}, with it {interval(standard)}; "
                f"effective rank {interval(rank)}",
                "yes" if collapsed else "did not happen",
            )
        )
    return lines


def _drift(result: InitializationResult) -> Line:
    first = result.values("cosine_to_input", 1, norm="pre", residual=0.0)
    depth = result.depths[-1]
    standard = result.values("cosine_to_input", depth, norm="pre")
    cka = result.values("cka_to_reference", 1, norm="pre", residual=0.0)
    forgets = mean_difference(first).value < 0.2
    return Line(
        "without residual connection the representation drifts from the input",
        f"cosine to the input after 1 layer {interval(first)}; with residual after {depth} layers "
        f"{interval(standard)}; CKA to the standard network after 1 layer {interval(cka)}",
        "yes: the input is lost in the first layer, and what follows is collapse"
        if forgets
        else "not at once",
    )


def _explosion(result: InitializationResult) -> Line:
    gain, depth = result.gains[-1], result.depths[-1]
    parts = [
        f"{layers} layers: {power_of_ten(result.norm_growth(layers, norm='none', gain=gain))}"
        for layers in result.depths
    ]
    growth = result.norm_growth(depth, norm="none", gain=gain)
    exploded = bool(np.all(growth > EXPLODED))
    first = result.first_nonfinite[0, NORMS.index("none"), 0, -1, 0]
    steps = (
        "" if np.all(first < 0) else f"; first layer that is not finite, by seed: {' '.join(map(str, first))}"
    )
    return Line(
        f"without norm a network of gain {gain:.3g} explodes",
        f"growth of the norm, {'; '.join(parts)}{steps}",
        "yes" if exploded else f"did not happen beyond {EXPLODED:.0e} within {depth} layers",
    )


def _both(result: InitializationResult) -> Line:
    gain, depths = result.gains[-1], np.asarray(result.depths)
    growth = np.stack([result.norm_growth(int(depth), norm="pre", gain=gain) for depth in depths])
    slope = (
        np.polyfit(np.log(depths), np.log(growth), 1)[0]
        if len(depths) > 1
        else np.full(growth.shape[1], np.nan)
    )
    last = growth[-1]
    bounded = bool(np.all(np.isfinite(growth)) and np.all(last < EXPLODED))
    return Line(
        "with both, the state stays bounded and grows like the root of the depth",
        f"norm at gain {gain:.3g} after {depths[-1]} layers × {interval(last)}; exponent of the depth "
        f"{interval(slope)}",
        "bounded" if bounded else "did not happen",
    )


def _second_order(result: InitializationResult) -> Line:
    depth = result.depths[-1]
    pairs = [result.values("token_similarity", depth, norm="pre", order=order) for order in ORDERS]
    difference = mean_difference(pairs[1] - pairs[0])
    rank = [result.values("effective_rank", depth, norm="pre", order=order) for order in ORDERS]
    return Line(
        "second order in time prevents oversmoothing",
        f"token similarity after {depth} layers {interval(pairs[1])}, first order {interval(pairs[0])}, difference "
        f"{difference.format(digits=3)}; effective rank {interval(rank[1])} and {interval(rank[0])}",
        by_sign(difference, "the opposite here", "supported here"),
    )


def _diffusion(result: InitializationResult) -> list[Line]:
    if len(result.diffusivities) < 2:
        return []
    depth, last = result.depths[-1], len(result.diffusivities) - 1
    pairs = [result.values("token_similarity", depth, norm="pre", diffusivity=i) for i in (0, last)]
    rough = [result.values("roughness", depth, norm="pre", diffusivity=i) for i in (0, last)]
    difference = mean_difference(pairs[1] - pairs[0])
    return [
        Line(
            f"diffusion (D = {result.diffusivities[-1]:g}) smooths the tokens further",
            f"token similarity after {depth} layers {interval(pairs[1])}, without {interval(pairs[0])}, difference "
            f"{difference.format(digits=3)}; roughness {interval(rough[1])} and {interval(rough[0])}",
            by_sign(difference, "supported here", "the opposite here"),
        )
    ]
