"""`estimate` and `layerwise`: from samples to a PID with intervals, null and warnings."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from typing import Any, Unpack

import jax
import numpy as np
from threadpoolctl import ThreadpoolController

from pid.discrete.label_prediction import MIN_PER_LABEL, estimate_labels
from pid.estimators import bootstrap, intervals
from pid.estimators.bias_correction import corrected_information, method_of
from pid.estimators.checks.assumptions import assumption_flags, test_copula
from pid.estimators.checks.dependence import dependence_flags
from pid.estimators.checks.nonlinearity import NonlinearityTest
from pid.estimators.checks.sample_size import known_bias_flags, warnings_for
from pid.estimators.config import Bootstrap, EstimateConfig, complete, flow_of, has_two_targets, show_choices
from pid.estimators.covariance_fit import CovarianceFit, fit_covariances
from pid.estimators.effective_size import account_for_dependence, describe_scheme, draws_for
from pid.estimators.gaussian_features import FeatureColumns, feature_columns, to_gaussian_features
from pid.estimators.results import (
    Estimate,
    Interval,
    Resampling,
    key_data,
    pid_from_array,
    pid_to_array,
)
from pid.features.feature_tables import FeatureTable
from pid.features.input_arrays import Samples, Variable, read_samples
from pid.features.kinds import check_kinds, detect_kinds, number_rows
from pid.features.resampling import group_samples
from pid.interface.flags import Flag
from pid.interface.scalars import random_key
from pid.measures import PID

Kinds = tuple[tuple[str, ...], ...]
"""Kind of every column of target, x and y."""


@show_choices
def estimate(target: Any, x: Any, y: Any, *, key: Any, **choices: Unpack[EstimateConfig]) -> Estimate:
    """Decompose the information that samples of two sources carry about a target.

    samples → `kinds` → normal scores → `reduce` → heavy tails → covariance → `measure` → `debias` → interval, null,
    verdict.

    Args:
        target: samples `(n, d_target)` of any real dtype, n at least 8: an array, nested lists, or a table of pandas,
            polars, pyarrow or xarray. A single column of a table is one feature.
        x: samples `(n, d_x)` of the first source, in the same order; any width. Tables need equal row labels.
        y: samples `(n, d_y)` of the second source, in the same order; any width.
        reduce: reduction of wide variables: a `CrossFittedRegression`, which is aware of the target, or components of
            each variable on its own, a `PCA`; None keeps the features.
        gaussianize: "none", "copula" (normal scores of each feature), "flow" or "auto", or a `SeparableFlow` of your
            own.
        measure: "broja" or "mmi".
        debias: "wishart" subtracts the exact bias of the three mutual informations and scales the union with the
            joint one; "bootstrap" subtracts the bias of parametric draws; "thinned" subtracts the exact bias and
            selects and measures the directions of unique information on independent parts (twice the time);
            "none". Or the method itself: `Wishart()`, `ParametricBootstrap()`,
            `WishartThinning()`.
        shrinkage: "ledoit_wolf" or "oas" shrinks the correlation matrix towards the identity; needs debias="none".
        ci: bootstrap draws for basic intervals, a `Bootstrap`; None for none.
        null: shuffles for the null, a `Shuffle`; None for none. Its limits are order statistics of the shuffles, whose
            bias is subtracted as by "wishart".
        kinds: kind of the columns by variable, such as `{"target": "categorical"}`; None detects them. A categorical
            target is estimated by cross-fitted predictions, and its interval by a bootstrap of their scores.
        checks: whether to test the samples for dependence between rows, nonlinear dependence and kinds of columns.
        groups: label of the group of every sample, `(n,)`, if samples of one group depend on each other; whole groups
            are then resampled and shuffled, and the bias is that of the effective number of samples.
        key: key of everything random, or an integer seed; equal keys give equal results.
        **choices: everything but the samples and the key; `EstimateConfig` is the type of the dictionary.

    Returns:
        Estimate, in bits. `verdict` says whether to believe it, and `flags` why; `print` shows all. Intervals of the
        three mutual informations cover as stated. Those of the atoms do so with "thinned"; with other methods they
        cover less, because the remaining bias is not small compared with their width.

    Raises:
        TypeError: a choice that does not exist.
        ValueError: shapes that do not fit, values that are not finite, fewer samples than dimensions, choices
            that contradict each other; each message names the remedy.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> rng = np.random.default_rng(0)
        >>> x, y, noise = rng.normal(size=(3, 200, 2))
        >>> result = pid.estimate(x + y + noise, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> result.pid.mi_joint.shape, bool(result.pid.synergy > result.pid.redundancy)
        ((), True)
    """
    samples = read_samples(target, x, y, layers=False, labels=("target",))
    return _without_layers(_estimate(samples, complete(choices), key))


@show_choices
def layerwise(target: Any, x: Any, y: Any, *, key: Any, **choices: Unpack[EstimateConfig]) -> Estimate:
    """Run `estimate` for every layer, with programs that are compiled once for all layers.

    Layer l equals `estimate` of that layer with the same key (where the widths of layers differ, up to the random
    splits of "thinned"), and paired draws resample the same samples in every layer.

    Args:
        target: samples `(L, n, d_target)`, or `(n, d_target)` if they are the same for all layers. Layers of different
            widths are a list or a dictionary of L arrays `(n, d)`; dictionaries are paired by their keys.
        x: samples `(L, n, d_x)` or `(n, d_x)` of the first source, or a list or dictionary of layers.
        y: samples `(L, n, d_y)` or `(n, d_y)` of the second source, or a list or dictionary of layers. At least one of
            the three has layers.
        key: key of everything random, or an integer seed; equal keys give equal results.
        reduce, gaussianize, measure, debias, shrinkage, ci, null, kinds, checks, groups: choices, as in `estimate`.
        **choices: all of these; `EstimateConfig` is the type of the dictionary.

    Returns:
        Estimate, in bits. The first axis of every field is the layer (the second, in `draws`). Flags begin with
        their layer.

    Raises:
        TypeError: a choice that does not exist.
        ValueError: as in `estimate`.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 2, 64, 2))
        >>> result = pid.layerwise(target, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> result.pid.synergy.shape
        (2,)
    """
    samples = read_samples(target, x, y, layers=True, labels=("target",))
    return _estimate(samples, complete(choices), key)


def _estimate(samples: Samples, config: dict[str, Any], key: Any) -> Estimate:
    key = random_key(key)
    kinds = [_kinds_of_layer(samples, layer, config["kinds"]) for layer in range(samples.num_layers)]
    if any(_is_one_label(samples, layer, kinds[layer][0], config) for layer in range(samples.num_layers)):
        return _estimate_labels(samples, config, key)
    samples, kinds = _with_indicators(samples, kinds, config["kinds"])
    has_small_matrices = sum(variable.layer(0).shape[1] for variable in samples) <= samples.n
    one_thread = _blas_libraries().limit(limits=1, user_api="blas") if has_small_matrices else nullcontext()
    with one_thread:  # more would wait for each other
        return _estimate_gaussian(samples, kinds, config, key)


@cache
def _blas_libraries() -> ThreadpoolController:
    """Return the BLAS of NumPy and of SciPy, which jaxlib uses on CPU."""
    return ThreadpoolController()


def _estimate_gaussian(
    samples: Samples, kinds: list[Kinds], config: dict[str, Any], key: jax.Array
) -> Estimate:
    """Decompose the information of the Gaussian model."""
    flow_key, draws_key, null_key = jax.random.split(key, 3)
    correction, ci = method_of(config["debias"]), draws_for(config["ci"], config["groups"])
    layers = range(samples.num_layers)
    # The checks run on the host, beside the programs on the device.
    with ThreadPoolExecutor(max_workers=1) as pool:
        columns = feature_columns(samples, scores=config["gaussianize"] == "copula")
        tests = [_start_copula_test(pool, columns, layer, config) for layer in layers]
        fit = _fit(columns, config, ci, flow_key)
        plugin = bootstrap.plugin(fit)
        information = corrected_information(fit, correction, plugin)
        checks = [
            pool.submit(
                _assumption_flags, samples, layer, fit, information[layer], config, kinds[layer], tests[layer]
            )
            for layer in layers
        ]
        corrected = correction.correct(fit, plugin, ci, draws_key)
        interval = intervals.interval_of(fit, corrected, ci)
        biased = known_bias_flags(fit, correction, corrected.values, plugin, interval, draws_key)
        null = intervals.null_interval(fit, correction, config["null"], null_key)
        flags = [
            flag.of_layer(layer)
            for layer in layers
            for flag in (
                *fit.features.flags[layer],
                *checks[layer].result(),
                *warnings_for(fit, correction, corrected.values[layer], plugin[layer], layer),
                *biased[layer],
            )
        ]
    return Estimate(
        pid=pid_from_array(corrected.values),
        ci=interval,
        null=null,
        draws=None if corrected.draws is None else pid_from_array(corrected.draws),
        flags=tuple(flags),
        n=fit.n,
        dims=tuple(tuple(int(count) for count in counts) for counts in fit.features.counts),
        plugin=pid_from_array(plugin),
        resampling=_resampling(ci, key, describe_scheme(fit.sampling)),
        choices=_record_choices(config),
        layer_names=samples.layer_names,
        variance=fit.features.variance,
    )


def _fit(
    columns: FeatureColumns, config: dict[str, Any], ci: Bootstrap | None, key: jax.Array
) -> CovarianceFit:
    """Reduce the features to Gaussian coordinates, and fit their covariances."""
    gaussianize, groups, n = config["gaussianize"], config["groups"], len(columns.variables[0][0])
    features = to_gaussian_features(
        columns,
        reduce=config["reduce"],
        gaussianize=gaussianize,
        key=key,
        groups=None if groups is None else np.asarray(group_samples(groups, n).label),
        series=_is_series(config),
    )
    fit = fit_covariances(
        features,
        n,
        measure=config["measure"],
        two_targets=has_two_targets(gaussianize),
        shrinkage=config["shrinkage"],
        ci=ci,
    )
    return account_for_dependence(fit, ci, config["null"], groups)


def _start_copula_test(
    pool: ThreadPoolExecutor, columns: FeatureColumns, layer: int, config: dict[str, Any]
) -> Future[NonlinearityTest] | None:
    """Start the test of one layer if it needs nothing but the samples: they are independent, and no flow bends them."""
    own_coordinates = flow_of(config["gaussianize"]) is not None
    if not config["checks"] or own_coordinates or config["groups"] is not None or _is_series(config):
        return None
    return pool.submit(test_copula, columns.layer(layer), are_scores=columns.are_scores)


def _is_one_label(samples: Samples, layer: int, kinds: tuple[str, ...], config: dict[str, Any]) -> bool:
    """Return whether each row of the target is a label: as stated, or as detected if samples repeat the rows."""
    if not all(kind == "categorical" for kind in kinds):
        return False
    labels = number_rows(samples.target.layer(layer))
    return "target" in (config["kinds"] or ()) or MIN_PER_LABEL * (int(labels.max()) + 1) <= samples.n


def _is_series(config: dict[str, Any]) -> bool:
    """Return whether a choice says that the samples are in the order of time."""
    ci, null = config["ci"], config["null"]
    return (ci is not None and ci.block is not None) or (null is not None and null.kind == "circular")


def _kinds_of_layer(samples: Samples, layer: int, stated: Mapping[str, Any] | None) -> Kinds:
    """Return the kinds of the columns of target, x and y: as stated and checked, else as detected."""
    kinds = []
    for variable in samples:
        table = variable.layers[layer if variable.has_layers else 0]
        if stated is not None and variable.name in stated:
            kinds.append(check_kinds(variable.name, stated[variable.name], table.values))
        else:
            hint = "category" if table.labels or set(table.kinds) == {"boolean"} else None
            kinds.append(detect_kinds(np.asarray(table.values), hint))
    return tuple(kinds)


def _with_indicators(
    samples: Samples, kinds: list[Kinds], stated: Mapping[str, Any] | None
) -> tuple[Samples, list[Kinds]]:
    """Replace source columns that are stated to be categorical by one column of 0 and 1 for each label but one.

    Such a source has no kinds any more: its columns are ours.
    """

    def is_encoded(variable: Variable) -> bool:
        words = np.atleast_1d((stated or {}).get(variable.name, ()))
        return variable.name != "target" and "categorical" in words

    def encode(table: FeatureTable, of_columns: tuple[str, ...]) -> FeatureTable:
        columns = []
        for column, kind in zip(np.asarray(table.values).T, of_columns, strict=True):
            is_label = kind == "categorical"
            columns += [column == value for value in np.unique(column)[1:]] if is_label else [column]
        return FeatureTable(np.stack(columns, axis=1).astype(float), ("real",) * len(columns))

    encoded = [
        variable._replace(
            layers=tuple(encode(table, kinds[layer][i]) for layer, table in enumerate(variable.layers))
        )
        if is_encoded(variable)
        else variable
        for i, variable in enumerate(samples)
    ]
    return Samples(*encoded), [
        tuple(() if is_encoded(variable) else own for variable, own in zip(samples, of_layer, strict=True))
        for of_layer in kinds
    ]


def _assumption_flags(
    samples: Samples,
    layer: int,
    fit: CovarianceFit,
    information: tuple[float, float, float],
    config: dict[str, Any],
    kinds: Kinds,
    copula_test: Future[NonlinearityTest] | None,
) -> list[Flag]:
    """Return the flags of the assumptions of one layer; none without `checks`."""
    if not config["checks"]:
        return []
    parts = fit.features.parts
    target, x, y = (
        part[layer][:, mask[layer]] for part, mask in ((parts[i], fit.features.masks[i]) for i in (0, -2, -1))
    )
    accounted = fit.effective_n is not None
    return assumption_flags(
        (samples.target.layer(layer), samples.x.layer(layer), samples.y.layer(layer)),
        (target, x, y),
        information,
        kinds=kinds,
        groups=config["groups"],
        accounted=accounted,
        effective_size=None if fit.effective_n is None else float(fit.effective_n),
        elliptical=bool(fit.features.inflation[layer] > 1),
        flow=flow_of(config["gaussianize"]) is not None,
        copula_test=None if copula_test is None else copula_test.result,
    )


def _estimate_labels(samples: Samples, config: dict[str, Any], key: jax.Array) -> Estimate:
    """Decompose the information about a categorical target: cross-fitted predictions, no Gaussian model."""
    ci = config["ci"] or Bootstrap(draws=2)
    rows, draws, flags, dims = [], [], [], []
    for layer in range(samples.num_layers):
        target, x, y = (variable.layer(layer) for variable in samples)
        labels = np.unique(target, axis=0, return_inverse=True)[1].reshape(-1)
        groups = (
            None if config["groups"] is None else np.asarray(group_samples(config["groups"], samples.n).label)
        )
        result = estimate_labels(labels, x, y, key=key, draws=ci.draws, level=ci.level, group_labels=groups)
        rows.append([pid_to_array(pid) for pid in (result.pid, *result.ci)])
        draws.append(pid_to_array(result.draws))
        dims.append((1, x.shape[1], y.shape[1]))
        note = (
            f"the target is categorical, {result.num_labels} labels with an entropy of {result.entropy:.2f} bits: the "
            f"information is that of cross-fitted predictions ({', '.join(result.methods)}), a lower bound; choices of "
            f"the Gaussian model do not apply."
        )
        columns = tuple(np.asarray(v.layer(layer), float) for v in samples)
        indicators = (labels[:, None] == np.unique(labels)[None, 1:]).astype(float)
        dependence = dependence_flags(
            columns, (indicators, x, y), labels=config["groups"], accounted=groups is not None
        )
        flags += [flag.of_layer(layer) for flag in (Flag(note, "note", "categorical target"), *dependence)]
    values, low, high = np.moveaxis(np.array(rows), 1, 0)
    return Estimate(
        pid=pid_from_array(values),
        ci=None if config["ci"] is None else Interval(pid_from_array(low), pid_from_array(high)),
        null=None,
        draws=None if config["ci"] is None else pid_from_array(np.stack(draws, axis=1)),
        flags=tuple(flags),
        n=samples.n,
        dims=tuple(dims),
        plugin=pid_from_array(values),
        resampling=_resampling(config["ci"] and Bootstrap(ci.draws, ci.level, "paired"), key, "scores"),
        choices=_record_choices(config),
        layer_names=samples.layer_names,
        variance=((1.0, 1.0, 1.0),) * samples.num_layers,
    )


def _resampling(ci: Bootstrap | None, key: jax.Array, scheme: str) -> Resampling | None:
    return None if ci is None else Resampling(ci.kind, ci.draws, ci.level, key_data(key), scheme)


def _record_choices(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return all choices that change the numbers, by name; a short name counts as what it stands for."""
    choices = {
        name: value for name, value in config.items() if name not in ("ci", "null", "groups", "checks")
    }
    choices["debias"] = method_of(config["debias"])
    choices["gaussianize"] = flow_of(config["gaussianize"]) or config["gaussianize"]
    return tuple((name, _describe(value)) for name, value in choices.items())


def _describe(value: Any) -> str:
    """Return the representation of a choice, without an address in memory."""
    has_address = type(value).__repr__ is object.__repr__
    return f"{type(value).__qualname__}({getattr(value, '__dict__', {})})" if has_address else repr(value)


def _without_layers(estimate: Estimate) -> Estimate:
    """Remove the axis of the only layer."""

    def squeeze(pid: PID) -> PID:
        return pid_from_array(pid_to_array(pid)[..., 0, :])

    def squeeze_interval(interval: Interval | None) -> Interval | None:
        return None if interval is None else Interval(squeeze(interval.low), squeeze(interval.high))

    return estimate._replace(
        pid=squeeze(estimate.pid),
        ci=squeeze_interval(estimate.ci),
        null=squeeze_interval(estimate.null),
        draws=None if estimate.draws is None else squeeze(estimate.draws),
        flags=tuple(flag.without_layer(0) for flag in estimate.flags),
        dims=estimate.dims[0],
        variance=None if estimate.variance is None else estimate.variance[0],
        plugin=squeeze(estimate.plugin),
    )
