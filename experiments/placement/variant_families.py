"""Variants of a run: a kind of layer at one place with one smoothing; the baseline has no layer.

V variants, P places
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.lra.config import BASELINE
from experiments.placement.layer_kinds import CANON_PLACES, DIFFUSIONS, KINDS
from pdeformer.model import POSITIONS_ONLY


class Variant(NamedTuple):
    """One variant."""

    kind: str = ""
    """Kind of its layer; "" for the baseline."""
    place: str = ""
    """Place of its layer; "" for the baseline."""
    alpha: float | None = None
    """Smoothing of its layer, see `layer_kinds`; None if the kind has none."""

    @property
    def name(self) -> str:
        """The name in `metrics.jsonl`, such as heat-0.25@after_embedding."""
        if not self.kind:
            return BASELINE
        is_default = self.alpha == KINDS[self.kind].default
        return f"{self.kind}{'' if is_default else f'-{self.alpha:g}'}@{self.place}"


BASE = Variant()
"""The baseline."""


def make_variants(
    *,
    layers: Sequence[str],
    places: Sequence[str],
    alphas: Mapping[str, Sequence[float]],
    controls: Sequence[str],
    causal: bool = False,
) -> list[Variant]:
    """Return the variants of a run, the baseline first.

    Args:
        layers: kinds of diffusion layers at every place.
        places: the places.
        alphas: kind -> smoothing of its variants; a kind without an entry has its default.
        controls: kinds of controls; canon stands at its own four places, positions_only is the first layer there.
        causal: whether the model reads no later token, so that variants without a causal form are left out.
    """
    variants = [BASE]
    for kind in (*layers, *(name for name in controls if name in KINDS)):
        own = CANON_PLACES if kind == "canon" else tuple(places)
        steps = alphas.get(kind) or (KINDS[kind].default,)
        variants += [Variant(kind, place, alpha) for alpha in steps for place in own]
    if POSITIONS_ONLY in controls:
        variants.append(Variant(layers[0], POSITIONS_ONLY, KINDS[layers[0]].default))
    return [v for v in variants if not (causal and v.kind == "convolution")]


def matched_control(variant: Variant, variants: Sequence[Variant]) -> Variant | None:
    """Return the convolution at the place of a diffusion layer, of equal start if there is one; None without one."""
    if variant.kind not in DIFFUSIONS:
        return None
    same = [v for v in variants if (v.kind, v.place) == ("convolution", variant.place)]
    return next((v for v in same if v.alpha == variant.alpha), same[0] if same else None)


def single_scale(variant: Variant, variants: Sequence[Variant]) -> Variant | None:
    """Return the learned layer with edges of length 1 at the place of a multiscale one, of equal start; None without.

    Without an adaptive layer it is heat.
    """
    if variant.kind != "multiscale":
        return None
    same = [
        v for kind in ("adaptive", "heat") for v in variants if (v.kind, v.place) == (kind, variant.place)
    ]
    return next((v for v in same if v.alpha == variant.alpha), same[0] if same else None)


def families(variants: Sequence[Variant]) -> dict[str, list[Variant]]:
    """Return {kind: its variants}: those of a family have equal shapes and train together.

    The baseline belongs to the first family.
    """
    kinds = list(dict.fromkeys(v.kind for v in variants if v.kind))
    groups = {kind: [v for v in variants if v.kind == kind] for kind in kinds}
    if BASE in variants:
        first = kinds[0] if kinds else "heat"
        groups[first] = [BASE, *groups.get(first, [])]
    return groups


def places_of(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return the places at which the variants have a layer, each once."""
    return tuple(dict.fromkeys(v.place for v in variants if v.place))
