"""Bias correction of the plug-in: the methods, and the arithmetic that they share.

L layers, B draws; arrays hold the F fields of a PID along their last axis; bias and information are in bits
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from pid.estimators import bootstrap, wishart_thinning
from pid.estimators.config import BiasCorrection, Bootstrap, Debias
from pid.estimators.covariance_fit import CovarianceFit
from pid.estimators.results import pid_from_array, pid_to_array
from pid.measures import PID

INFORMATION = [PID._fields.index(name) for name in ("mi_x", "mi_y", "mi_joint")]
Numbers = Any  # arrays or NumPy scalars


class NormalAtoms(NamedTuple):
    """Normal approximation of the sampling distribution of the atoms and the union, in bits."""

    center: np.ndarray
    """Means (L, 5) of R, U_x, U_y, S and the union."""

    deviation: np.ndarray
    """Standard deviations (L, 5)."""

    layers: np.ndarray
    """Layers for which the approximation holds: bool (L,)."""


class SamplingDistribution(NamedTuple):
    """Sampling distribution of the corrected values, in bits."""

    draws: np.ndarray
    """Draws (B, L, F) from which basic intervals are computed."""

    center: np.ndarray
    """Center of the draws, (L, F)."""

    atoms: NormalAtoms | None = None
    """Normal approximation of the atoms, where the draws do not describe them."""


class Corrected(NamedTuple):
    """Corrected values of all layers, in bits."""

    values: np.ndarray
    """Corrected fields, (L, F)."""

    draws: np.ndarray | None
    """Corrected fields of the bootstrap draws, (B, L, F); None without draws."""

    distribution: SamplingDistribution | None
    """Sampling distribution of the values; None without draws."""


@dataclass(frozen=True)
class Uncorrected(BiasCorrection):
    """No correction: the plug-in itself. Short name "none".

    Example:
        >>> from pid.estimators import Uncorrected
        >>> Uncorrected().name
        'none'
    """

    name: ClassVar[Debias] = "none"
    """Short name of the method."""

    def correct(
        self, fit: CovarianceFit, plugin: np.ndarray, ci: Bootstrap | None, key: jax.Array
    ) -> Corrected:
        """Return the plug-in and its draws."""
        if ci is None:
            return Corrected(plugin, None, None)
        return _around_mean(plugin, bootstrap.draw(fit, ci, key))

    def correct_values(self, fit: CovarianceFit, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values


@dataclass(frozen=True)
class Wishart(BiasCorrection):
    """Subtraction of the exact bias of the three mutual informations. Short name "wishart".

    The union is scaled with the joint information, I_u ← I_u · Î_xy / I_xy with Î the corrected values, and the atoms
    follow. Intervals of the mutual informations cover as stated; those of the atoms cover less.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> from pid.estimators import Wishart
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> options = dict(measure="mmi", key=jax.random.key(0), ci=None, null=None)
        >>> a = pid.estimate(target, x, y, debias=Wishart(), **options)
        >>> a == pid.estimate(target, x, y, debias="wishart", **options)
        True
    """

    name: ClassVar[Debias] = "wishart"
    """Short name of the method."""

    def correct(
        self, fit: CovarianceFit, plugin: np.ndarray, ci: Bootstrap | None, key: jax.Array
    ) -> Corrected:
        """Subtract the exact bias.

        The truth of parametric draws is the plug-in. Their corrected values are centered on it, so that intervals also
        account for the remaining bias. Paired draws are centered on their own mean.
        """
        values = subtract_wishart_bias(plugin, fit.bias, fit.measure)
        if ci is None:
            return Corrected(values, None, None)
        draws = self.correct_values(fit, bootstrap.draw(fit, ci, key))
        if ci.kind == "parametric":
            return Corrected(values, draws, SamplingDistribution(draws, plugin))
        return _around_mean(values, draws)

    def correct_values(self, fit: CovarianceFit, values: np.ndarray) -> np.ndarray:
        """Subtract the exact bias of Gaussian samples."""
        return subtract_wishart_bias(values, fit.bias_of_draws, fit.measure)


@dataclass(frozen=True)
class ParametricBootstrap(BiasCorrection):
    """Subtraction of the bias of parametric draws: 2 θ̂ - mean θ*. Short name "bootstrap".

    Resampled and shuffled data are corrected as by `Wishart`.

    Example:
        >>> from pid.estimators import ParametricBootstrap
        >>> ParametricBootstrap().name
        'bootstrap'
    """

    name: ClassVar[Debias] = "bootstrap"
    """Short name of the method."""

    def correct(
        self, fit: CovarianceFit, plugin: np.ndarray, ci: Bootstrap | None, key: jax.Array
    ) -> Corrected:
        """Subtract the bias of the draws; without `ci`, their number is the default of `Bootstrap`."""
        parametric = bootstrap.draw_parametric(fit, key, Bootstrap().draws if ci is None else ci.draws)
        values = subtract_bootstrap_bias(plugin, parametric, fit.measure)
        if ci is None:
            return Corrected(values, None, None)
        return _around_mean(values, parametric if ci.kind == "parametric" else bootstrap.draw(fit, ci, key))

    def correct_values(self, fit: CovarianceFit, values: np.ndarray) -> np.ndarray:
        """Subtract the exact bias, as `Wishart` does."""
        return Wishart().correct_values(fit, values)


@dataclass(frozen=True)
class WishartThinning(BiasCorrection):
    """Subtraction of the exact bias, with unique information from split covariances. Short name "thinned".

    Directions are selected and measured on independent parts (`wishart_thinning`). This method is recommended:
    intervals of the atoms cover as stated too. It takes twice the time of `Wishart`. It equals `Wishart` for MMI
    and if the samples are too few to be split.

    Draws of resampled samples are corrected as by `Wishart`. They describe the mutual informations; the deviations of
    the atoms are those of thinned parametric draws with the effective number of samples, times the ratio of the
    deviations of the informations of both kinds of draws if that is above 1.

    Example:
        >>> from pid.estimators import WishartThinning
        >>> WishartThinning().name
        'thinned'
    """

    name: ClassVar[Debias] = "thinned"
    """Short name of the method."""

    def correct(
        self, fit: CovarianceFit, plugin: np.ndarray, ci: Bootstrap | None, key: jax.Array
    ) -> Corrected:
        """Subtract the exact bias, and replace the unique information by the thinned one."""
        wishart = Wishart()
        if not thinning_applies(fit):
            return wishart.correct(fit, plugin, ci, key)
        half_unique = wishart_thinning.estimate_half_unique(fit, jax.random.fold_in(key, 1))
        values = replace_unique(plugin, fit.bias, half_unique)
        if ci is None:
            return Corrected(values, None, None)
        draws = bootstrap.draw(fit, ci, key)
        parametric = draws if ci.kind == "parametric" else bootstrap.draw_parametric(fit, key, ci.draws)
        thinned = wishart_thinning.draw_half_unique(fit, key, ci.draws)
        atoms = _normal_atoms(fit, plugin, half_unique, parametric[: len(thinned)], thinned)
        if ci.kind == "paired":
            resampled = wishart.correct_values(fit, draws)
            scale = _excess_deviation(fit, draws, parametric)[:, None]
            atoms = atoms._replace(deviation=atoms.deviation * scale)
            return Corrected(
                values, resampled, SamplingDistribution(resampled, resampled.mean(axis=0), atoms)
            )
        distribution = SamplingDistribution(
            wishart.correct_values(fit, draws),
            plugin,
            atoms,
        )
        return Corrected(values, _correct_draws(fit, draws, thinned), distribution)

    def correct_values(self, fit: CovarianceFit, values: np.ndarray) -> np.ndarray:
        """Subtract the exact bias, as `Wishart` does."""
        return Wishart().correct_values(fit, values)

    def limitations(self, fit: CovarianceFit) -> list[str]:
        """Warn if the samples are too few to be split."""
        if thinning_applies(fit) or fit.measure == "mmi":
            return []
        return [
            f"n={fit.n} samples are too few to be split in {fit.covs.shape[-1]} dimensions; the union was corrected "
            f"as by debias='wishart'."
        ]


def thinning_applies(fit: CovarianceFit) -> bool:
    """Return whether the union needs thinning (MMI's is max(I_x, I_y)) and the samples suffice to be split."""
    return (
        fit.measure != "mmi"
        and wishart_thinning.split_sizes(fit.covs.shape[-1], (fit.effective_n or fit.n) - 1) is not None
    )


METHODS: dict[str, BiasCorrection] = {
    method.name: method for method in (Uncorrected(), Wishart(), ParametricBootstrap(), WishartThinning())
}
"""Methods by their short names."""


def method_of(debias: BiasCorrection | str | None) -> BiasCorrection:
    """Return the method itself, or the method with this short name; None means "none"."""
    return debias if isinstance(debias, BiasCorrection) else METHODS[debias or "none"]


def corrected_information(
    fit: CovarianceFit, correction: BiasCorrection, plugin: np.ndarray
) -> list[tuple[float, float, float]]:
    """Return I_x, I_y and I_xy of every layer before any draws, less their exact bias if they are corrected."""
    uncorrected = isinstance(correction, Uncorrected)
    values = pid_from_array(plugin if uncorrected else subtract_wishart_bias(plugin, fit.bias, fit.measure))
    return [
        (float(x), float(y), float(joint))
        for x, y, joint in zip(values.mi_x, values.mi_y, values.mi_joint, strict=True)
    ]


def _around_mean(values: np.ndarray, draws: np.ndarray) -> Corrected:
    return Corrected(values, draws, SamplingDistribution(draws, draws.mean(axis=0)))


def _correct_draws(fit: CovarianceFit, draws: np.ndarray, thinned: np.ndarray) -> np.ndarray:
    """Subtract the exact bias, and from the plug-in value of ê its mean bias over the draws that were split."""
    fields = pid_from_array(draws)
    with np.errstate(invalid="ignore"):  # infinite information: such systems are not corrected
        half_unique = fields.union - (fields.mi_x + fields.mi_y) / 2
        excess = half_unique[: len(thinned)] - thinned[..., :2].mean(axis=-1)
        corrected = half_unique - np.maximum(excess.mean(axis=0), 0)
    return replace_unique(draws, fit.bias_of_draws, np.stack([corrected, half_unique], axis=-1))


def _normal_atoms(
    fit: CovarianceFit,
    plugin: np.ndarray,
    half_unique: np.ndarray,
    draws: np.ndarray,
    thinned: np.ndarray,
) -> NormalAtoms:
    """Compute centers from the corrected values, and deviations from the thinned draws.

    A layer with infinite information is not corrected and has no approximation.
    """
    layers = np.asarray(np.isfinite(plugin).all(axis=-1))
    center, deviation = np.zeros((2, len(plugin), len(wishart_thinning.LINEAR)))
    for layer in np.flatnonzero(layers):
        center[layer] = wishart_thinning.atoms_of(
            plugin[layer, INFORMATION] - fit.bias[layer], np.minimum(*half_unique[layer])
        )
        deviation[layer] = wishart_thinning.atom_deviations(draws[:, layer, INFORMATION], thinned[:, layer])
    return NormalAtoms(center, deviation, layers)


def _excess_deviation(fit: CovarianceFit, draws: np.ndarray, parametric: np.ndarray) -> np.ndarray:
    """Return how much larger deviations of resampled informations are than parametric ones with heavy tails, (L,).

    At least 1: a bootstrap of few blocks sees too little.
    """
    with np.errstate(invalid="ignore"):  # infinite information
        resampled, expected = (
            values[..., INFORMATION].std(axis=0).mean(axis=-1) for values in (draws, parametric)
        )
    expected = expected * np.sqrt(fit.features.inflation)
    mask = np.isfinite(resampled) & (expected > 0)
    return np.maximum(np.where(mask, resampled, 1) / np.where(mask, expected, 1), 1)


def subtract_wishart_bias(values: np.ndarray, bias: np.ndarray, measure: str) -> np.ndarray:
    """Subtract the exact bias `(..., 3)` of the three mutual informations, and scale the union with the joint one.

    I_u ← I_u · Î_xy / I_xy with Î the corrected values. MMI needs no scaling: it is a function of the three.
    """
    plugin = pid_from_array(values)
    x, y, joint = _subtract_bias(plugin, bias)
    if measure == "mmi":
        return _keep_infinite(values, values_from_union(x, y, joint, np.maximum(x, y)))
    mask = np.isfinite(plugin.mi_joint) & (plugin.mi_joint > 0)
    scale = np.where(mask, joint / np.where(mask, plugin.mi_joint, 1), 1)
    return _keep_infinite(values, values_from_union(x, y, joint, plugin.union * scale))


def subtract_bootstrap_bias(values: np.ndarray, draws: np.ndarray, measure: str) -> np.ndarray:
    """Compute 2 θ̂ - mean θ*: plug-in values less the bias of parametric draws, (B, ...)."""
    with np.errstate(invalid="ignore"):  # infinite information: such systems are not corrected
        corrected = pid_from_array(2 * values - draws.mean(axis=0))
    x, y, joint = _clip_information(np.stack([corrected.mi_x, corrected.mi_y, corrected.mi_joint], axis=-1))
    union = np.maximum(x, y) if measure == "mmi" else corrected.union
    return _keep_infinite(values, values_from_union(x, y, joint, union))


def replace_unique(values: np.ndarray, bias: np.ndarray, half_unique: np.ndarray) -> np.ndarray:
    """Subtract the exact bias of the mutual informations, and set the union to (I_x + I_y)/2 + ê.

    Args:
        values: plug-in fields, (..., F).
        bias: bias of the mutual informations, (..., 3).
        half_unique: ê = (U_x + U_y)/2 by `wishart_thinning`, and its plug-in value, which it may not exceed; (..., 2).
    """
    x, y, joint = _subtract_bias(pid_from_array(values), bias)
    half = np.minimum(half_unique[..., 0], half_unique[..., 1])
    return _keep_infinite(values, values_from_union(x, y, joint, (x + y) / 2 + half))


def _subtract_bias(plugin: PID, bias: np.ndarray) -> tuple[Numbers, Numbers, Numbers]:
    return _clip_information(np.stack([plugin.mi_x, plugin.mi_y, plugin.mi_joint], axis=-1) - bias)


def _clip_information(information: np.ndarray) -> tuple[Numbers, Numbers, Numbers]:
    """Split the last axis into I_x, I_y and I_xy, clipped to at least 0, and I_xy to at least I_x and I_y."""
    x, y, joint = np.moveaxis(np.maximum(information, 0), -1, 0)
    return x, y, np.maximum(joint, np.maximum(x, y))


def values_from_union(x: Numbers, y: Numbers, joint: Numbers, union: Numbers) -> np.ndarray:
    """Return the fields of the PID with this union, which is clipped to [max(I_x, I_y), min(I_x + I_y, I_xy)]."""
    with np.errstate(invalid="ignore"):  # infinite information: such systems are not corrected
        union = np.clip(union, np.maximum(x, y), np.minimum(x + y, joint))
        return pid_to_array(PID(x + y - union, union - y, union - x, joint - union, x, y, joint, union))


def _keep_infinite(values: np.ndarray, corrected: np.ndarray) -> np.ndarray:
    """Return the uncorrected values of systems with infinite information, whose bias is undefined."""
    infinite = ~np.isfinite(values).all(axis=-1, keepdims=True)
    return np.where(infinite, values, corrected)
