"""From samples to few Gaussian coordinates: checks, reduction of each variable, Gaussianization, ranks.

L layers, n samples, d features, k coordinates kept
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid.estimators.config import EstimateConfig, flow_of
from pid.flow import SeparableFlow, cross_fit
from pid.gaussian import systems
from pid.gaussian.covariance import DOUBLE
from pid.gaussianize import PCA, count_components, principal_components, rank_gaussian, standardize

NAMES = ("target", "x", "y")
LEAST_SAMPLES = 8
NARROWEST = 16  # coordinates that layers of different widths are at least padded to
VARIANCE_CAP = 3  # components chosen by variance take at most 1/3 as many dimensions as there are samples


class Latents(NamedTuple):
    """Gaussian coordinates of every layer, zero where a layer has fewer than the to_float64 one."""

    parts: tuple[np.ndarray, ...]  # target, x, y or target, target_y, x, y: (L, n, k) each
    exists: tuple[np.ndarray, ...]  # bool (L, k) each
    flags: tuple[tuple[str, ...], ...]  # of every layer

    @property
    def values(self) -> np.ndarray:
        """(L, n, D)."""
        return np.concatenate(self.parts, axis=-1)

    @property
    def mask(self) -> np.ndarray:
        """(L, D)."""
        return np.concatenate(self.exists, axis=-1)

    @property
    def counts(self) -> np.ndarray:
        """Coordinates of target, x and y that exist: (L, 3)."""
        counts = np.stack([part.sum(axis=-1) for part in self.exists], axis=-1)
        return counts[:, [0, -2, -1]]


def samples(target: Any, x: Any, y: Any, *, layers: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three variables as arrays: (n, d), or with `layers` (L, n, d), where one (n, d) serves all layers.

    Raises:
        ValueError: shapes that do not fit, too few samples, values that are not finite.
    """
    arrays = (np.asarray(target), np.asarray(x), np.asarray(y))
    allowed = (2, 3) if layers else (2,)
    shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(NAMES, arrays, strict=True))
    if any(a.ndim not in allowed or 0 in a.shape for a in arrays):
        wanted = "(n, d), or (L, n, d) with layers" if layers else "(n, d)"
        raise ValueError(f"samples must have shape {wanted}, got {shapes}.")
    if layers and len({len(a) for a in arrays if a.ndim == 3}) != 1:
        raise ValueError(
            f"layerwise needs an axis of layers, equally long wherever there is one, got {shapes}."
        )
    if len({a.shape[-2] for a in arrays}) != 1:
        raise ValueError(f"target, x and y must have the same samples in the same order, got {shapes}.")
    if arrays[0].shape[-2] < LEAST_SAMPLES:
        raise ValueError(f"an estimate needs at least {LEAST_SAMPLES} samples, got {shapes}.")
    for name, a in zip(NAMES, arrays, strict=True):
        _refuse_unusable(name, a)
    return arrays


def _refuse_unusable(name: str, a: np.ndarray) -> None:
    if not (np.issubdtype(a.dtype, np.number) or a.dtype.name == "bfloat16") or np.iscomplexobj(a):
        raise ValueError(f"samples must be real numbers, got {name} of dtype {a.dtype}.")
    finite = np.isfinite(a.astype(np.float32) if a.dtype.name == "bfloat16" else a)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"samples must be finite, got {int((~finite).sum())} values of {name} that are not, the first at {where}; "
            f"drop these samples from all three variables."
        )


def prepare(arrays: Sequence[np.ndarray], config: EstimateConfig, key: jax.Array) -> Latents:
    """Reduce every variable of every layer, make it Gaussian, and leave out directions that do not exist.

    Raises:
        ValueError: a variable without any variance.
    """
    layers = max((len(a) for a in arrays if a.ndim == 3), default=1)
    flags: list[list[str]] = [[] for _ in range(layers)]
    reduced = [
        _reduce_layers(name, a, config["reduce"], flags) for name, a in zip(NAMES, arrays, strict=True)
    ]
    if config["reduce"] is not None and config["reduce"].variance is not None:
        reduced = _cap(reduced, flags)
    gaussian = _gaussianize(reduced, config, key, flags)
    names = NAMES if len(gaussian) == 3 else ("target", "target_y", "x", "y")
    ranked = [
        [_within_rank(name, part[layer], flags[layer]) for layer in range(layers)]
        for name, part in zip(names, gaussian, strict=True)
    ]
    parts, exists = zip(*map(_pad, ranked), strict=True)
    return Latents(parts, exists, tuple(map(tuple, flags)))


Layers = list[np.ndarray]  # (n, k) for every layer


def _reduce_layers(name: str, array: np.ndarray, how: PCA | None, flags: list[list[str]]) -> Layers:
    """A variable without layers is reduced once and serves all of them."""
    own = [_reduce(name, a, how) for a in (array if array.ndim == 3 else array[None])]
    for layer, said in enumerate(flags):
        said += own[min(layer, len(own) - 1)][1]
    return [own[min(layer, len(own) - 1)][0] for layer in range(len(flags))]


def _reduce(name: str, array: np.ndarray, how: PCA | None) -> tuple[np.ndarray, list[str]]:
    flags = []
    with systems.x64_context():
        plain = standardize(systems.to_float64(array))
        constant = np.asarray(plain.constant)
        if constant.all():
            raise ValueError(
                f"a variable needs some variance, got {name} with constant features only; drop it."
            )
        if constant.any():
            flags.append(
                f"{name}: {constant.sum()} of {constant.size} features are constant and were dropped."
            )
        if how is None:
            return np.asarray(plain.values)[:, ~constant], flags
        possible = min(array.shape[0] - 1, constant.size)
        wanted = possible if how.components is None else how.components
        found = principal_components(plain.values, min(wanted, possible))
        kept = np.array(found.present)
        if how.variance is not None:
            kept &= np.arange(kept.size) < int(count_components(found.variances, found.total, how.variance))
        elif kept.sum() < wanted:
            flags.append(f"{name}: only {kept.sum()} of the {wanted} components asked for exist.")
        return np.asarray(found.scores)[:, kept], flags


def _cap(reduced: list[Layers], flags: list[list[str]]) -> list[Layers]:
    """Keep at most n/3 dimensions in all, by one common limit for the to_float64 variables."""
    for layer, said in enumerate(flags):
        sizes = [part[layer].shape[1] for part in reduced]
        room = max(reduced[0][layer].shape[0] // VARIANCE_CAP, len(sizes))
        if sum(sizes) <= room:
            continue
        limit = max(c for c in range(1, room + 1) if sum(min(size, c) for size in sizes) <= room)
        for part in reduced:
            part[layer] = part[layer][:, :limit]
        said.append(
            f"the share of variance asked for needs {sizes[0]}, {sizes[1]} and {sizes[2]} components of target, x and "
            f"y; cut to {limit} each, n/{VARIANCE_CAP} in all."
        )
    return reduced


def _gaussianize(
    reduced: list[Layers], config: EstimateConfig, key: jax.Array, flags: list[list[str]]
) -> list[Layers]:
    if config["gaussianize"] == "none":
        return reduced
    flow = flow_of(config)
    if flow is None:
        return [_copula(part) for part in reduced]
    return _by_flow(flow, reduced, key, flags)


def _copula(part: Layers) -> Layers:
    padded, exists = _pad(part)
    with systems.x64_context():
        values = np.asarray(jax.vmap(rank_gaussian)(padded))
    return [values[layer][:, mask] for layer, mask in enumerate(exists)]


def _by_flow(
    flow: SeparableFlow, reduced: list[Layers], key: jax.Array, flags: list[list[str]]
) -> list[Layers]:
    """Layers of equal shape are trained by one compiled program; without couplings others are padded to one."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for layer in range(len(flags)):
        groups.setdefault(tuple(part[layer].shape[1] for part in reduced), []).append(layer)
    if len(groups) > 1 and not flow.couplings:
        groups = {tuple(map(_common_width, reduced)): list(range(len(flags)))}
    parts = 3 if flow.shared_target else 4
    result: list[Layers] = [[np.empty(0)] * len(flags) for _ in range(parts)]
    for widths, members in groups.items():
        target, x, y = (
            jnp.asarray(np.stack([_widened(part[layer], width) for layer in members]))
            for part, width in zip(reduced, widths, strict=True)
        )
        fitted = cross_fit(flow, target, x, y, jnp.stack([key] * len(members)))
        latents = fitted.latents
        again = [] if latents.target_y is None else [latents.target_y]
        found = [latents.target, *again, latents.x, latents.y]
        for i, layer in enumerate(members):
            given = [reduced[0], *reduced] if again else reduced
            for part, values, before in zip(result, found, given, strict=True):
                part[layer] = np.asarray(values[i], np.float64)[:, : before[layer].shape[1]]
            if not bool(fitted.beats_copula[i]):
                flags[layer].append(
                    "the flow was no better than the copula on held-out samples; the copula was used."
                )
    return result


def _within_rank(name: str, values: np.ndarray, flags: list[str]) -> np.ndarray:
    """The coordinates themselves, or those of the eigenvectors that exist where some do not."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred / np.where(spread > 0, spread, 1)
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    exists = eigenvalues > DOUBLE.rank * max(eigenvalues[-1], DOUBLE.rank)
    # as many coordinates as samples are singular for want of samples: refused later, not reduced
    if exists.all() or len(values) <= values.shape[1]:
        return values
    flags.append(
        f"{name}: {(~exists).sum()} of {exists.size} directions do not exist (collinear features) and were left out."
    )
    return centred @ (vectors[:, exists] / np.sqrt(eigenvalues[exists]))


def _common_width(part: Layers) -> int:
    """A power of two, so that other data of about these widths run the same program."""
    return max(NARROWEST, 1 << (max(layer.shape[1] for layer in part) - 1).bit_length())


def _widened(part: np.ndarray, width: int) -> np.ndarray:
    """Zeros to the right."""
    return np.pad(part, ((0, 0), (0, width - part.shape[1])))


def _pad(layers: Layers) -> tuple[np.ndarray, np.ndarray]:
    """Stack layers of different widths: zeros to the right, and a mask."""
    width = max(part.shape[1] for part in layers)
    padded = np.stack([_widened(part, width) for part in layers])
    exists = np.stack([np.arange(width) < part.shape[1] for part in layers])
    return padded, exists
