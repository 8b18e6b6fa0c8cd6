"""`estimate` and `layerwise`: samples → PID, with everything that says how far to trust it."""

from typing import Any, Unpack

import jax
import numpy as np

from pid.estimators import diagnostics, gaussian_features, intervals
from pid.estimators.config import (
    Bootstrap,
    Choices,
    Debias,
    EstimateConfig,
    Gaussianize,
    Shrinkage,
    Shuffle,
    complete,
)
from pid.estimators.covariance_fit import observe
from pid.estimators.results import Estimate, Interval, Resampling, key_data, pid_from_array, pid_to_array
from pid.flow import SeparableFlow
from pid.gaussianize import PCA
from pid.measures import PID
from pid.measures.decomposition import Measure


def estimate(
    target: Any,
    x: Any,
    y: Any,
    *,
    reduce: PCA | None = PCA(components=8),  # noqa: B008  frozen
    gaussianize: Gaussianize | SeparableFlow | str = "copula",
    measure: Measure | str = "broja",
    debias: Debias | str = "wishart",
    shrinkage: Shrinkage | str | None = None,
    ci: Bootstrap | None = Bootstrap(),  # noqa: B008  frozen
    null: Shuffle | None = Shuffle(),  # noqa: B008  frozen
    key: jax.Array,
) -> Estimate:
    """The information that samples of two sources carry about a target, decomposed.

    samples → standardise → `reduce` → `gaussianize` → covariance → `measure` → `debias` → interval, null.

    Args:
        target, x, y: samples `(n, d)` each, the same samples in the same order; any width, any real dtype.
        reduce: components of each variable on its own; None takes the features as they are.
        gaussianize: "none", "copula" (normal scores of each coordinate), "flow", or a `SeparableFlow` of your own.
        measure: "broja" or "mmi".
        debias: "wishart" subtracts the exact bias of the three mutual informations and scales the union with the
            joint one; "bootstrap" takes away the bias seen in parametric draws; "thinned" subtracts the exact bias and
            measures unique information where directions are chosen and measured on independent parts
            (`estimators.thinning`; recommended, five times the work); "none".
        shrinkage: of the correlation matrix towards the identity, "ledoit_wolf" or "oas"; needs debias="none".
        ci: bootstrap draws for basic intervals, None for none.
        null: shuffles for the null, None for none; their bias is taken away as by "wishart".
        key: of everything random; equal keys give equal results.

    Returns:
        Estimate, in bits. `flags` says what was reduced, dropped or is doubtful. Intervals of the three mutual
        informations cover as stated. Those of the atoms do under "thinned"; under the others they cover less, since
        the bias that is left is not small beside their width (BUILD.md has the coverage).

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer samples than dimensions, choices
            that contradict each other; each says what to do.
    """
    config = complete(
        Choices(
            reduce=reduce,
            gaussianize=gaussianize,
            measure=measure,
            debias=debias,
            shrinkage=shrinkage,
            ci=ci,
            null=null,
        )
    )
    return _only_layer(_estimate(gaussian_features.samples(target, x, y, layers=False), config, key))


def layerwise(target: Any, x: Any, y: Any, *, key: jax.Array, **config: Unpack[Choices]) -> Estimate:
    """`estimate` for every layer, by programs that are compiled once for all of them.

    target, x, y are `(L, n, d)`; what is the same for all layers may be `(n, d)`. Every field of the result has the
    layers first (draws: after the draws), and flags begin with their layer. Layer l equals `estimate` of that layer
    with the same key, and paired draws resample the same samples in every layer.

    The choices, and what is raised, are those of `estimate`.
    """
    whole = complete(config)
    return _estimate(gaussian_features.samples(target, x, y, layers=True), whole, key)


def _estimate(arrays: tuple[np.ndarray, ...], config: EstimateConfig, key: jax.Array) -> Estimate:
    for_flow, for_draws, for_null = jax.random.split(key, 3)
    seen = observe(gaussian_features.prepare(arrays, config, for_flow), arrays[0].shape[-2], config)
    plugin = seen.plugin()
    found = intervals.measure(seen, plugin, for_draws)
    flags = [
        (*said, *diagnostics.of(seen, value, raw, layer))
        for layer, (said, value, raw) in enumerate(zip(seen.found.flags, found.value, plugin, strict=True))
    ]
    return Estimate(
        pid=pid_from_array(found.value),
        ci=found.interval,
        null=intervals.null(seen, for_null),
        draws=None if found.draws is None else pid_from_array(found.draws),
        flags=tuple(f"layer {layer}: {flag}" for layer, said in enumerate(flags) for flag in said),
        n=seen.plan.n,
        dims=tuple(tuple(int(count) for count in counts) for counts in seen.found.counts),
        plugin=pid_from_array(plugin),
        resampling=_resampling(config["ci"], key),
    )


def _resampling(ci: Bootstrap | None, key: jax.Array) -> Resampling | None:
    return None if ci is None else Resampling(ci.kind, ci.draws, ci.level, key_data(key))


def _only_layer(layers: Estimate) -> Estimate:
    """The estimate without its axis of one layer."""

    def only(pid: PID) -> PID:
        return pid_from_array(pid_to_array(pid)[..., 0, :])

    def of(interval):
        return None if interval is None else Interval(only(interval.low), only(interval.high))

    return layers._replace(
        pid=only(layers.pid),
        ci=of(layers.ci),
        null=of(layers.null),
        draws=None if layers.draws is None else only(layers.draws),
        flags=tuple(flag.removeprefix("layer 0: ") for flag in layers.flags),
        dims=layers.dims[0],
        plugin=only(layers.plugin),
    )
