"""One model with a layer of a kind at every place, and a switch for each: variants are then data of one program.

A switch is 0 or 1 and no parameter. At switch 0 the layer is the identity, and its gradient is exactly 0; at switch 1
it is the layer. A model with all switches at 0 is the baseline, and with one at 1 the model of a variant.

B batch, T tokens, D channels, L blocks, P places, V variants
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from experiments.placement.layer_kinds import layer_parameters
from experiments.placement.variant_families import Variant
from pdeformer import train
from pdeformer.integrators.sequence_parallel import evolve_on_mesh
from pdeformer.model import POSITIONS_ONLY, ModelConfig
from pdeformer.pde import Diffusion

OUTSIDE_BLOCKS = ("after_embedding", POSITIONS_ONLY)
"""Places with a single layer in a model; the others have one in every block."""


class Settings(NamedTuple):
    """What the variants of a family differ in, of one variant or of V."""

    switches: Bool[Array | np.ndarray, "*v p"]
    """Whether there is a layer at each place of the family."""
    alpha: Float[Array | np.ndarray, "*v"]
    """Diffusivity of the kind heat; 0 for the others, whose smoothing is in their parameters."""


def make_settings(variants: Sequence[Variant], places: Sequence[str]) -> Settings:
    """Return the settings of V variants over the places of their family."""
    switches = np.array([[variant.place == place for place in places] for variant in variants], bool)
    alpha = [v.alpha or 0.0 if v.kind == "heat" else 0.0 for v in variants]
    return Settings(switches.reshape(len(variants), len(places)), np.array(alpha, np.float32))


def initial_layers(variants: Sequence[Variant], places: Sequence[str], model: ModelConfig) -> dict[str, Any]:
    """Return the initial parameters of all layers of V variants, as a part of the tree of parameters.

    Every variant has layers at all places, with the smoothing of its own one.
    """
    kind = next((v.kind for v in variants if v.kind), "heat")

    def stack(place: str) -> dict[str, Any]:
        inside = place not in OUTSIDE_BLOCKS
        channels = model.hook_width(place) if inside else model.width
        rows = [layer_parameters(kind, variant.alpha, channels) for variant in variants]
        shape = (len(rows), model.layers) if inside else (len(rows),)
        return {
            name: np.broadcast_to(
                np.expand_dims(np.stack([np.asarray(row[name]) for row in rows]), 1 if inside else ()),
                (*shape, *np.shape(rows[0][name])),
            )
            for name in rows[0]
        }

    tree: dict[str, Any] = {}
    for place in places:
        if layers := stack(place):
            parent = (
                tree if place in OUTSIDE_BLOCKS else tree.setdefault("blocks", {}).setdefault("stencils", {})
            )
            parent[place] = layers
    return tree


class HeatStep(nnx.Module):
    """An explicit Euler step of the heat equation, u ← u + αLu, whose α is data: any α ≥ 0, stable or not."""

    def __init__(self, alpha: Float[Array, "*l"]) -> None:
        """Store α, () or (L,) for a layer stacked over L blocks."""
        self.alpha = nnx.Variable(alpha)

    def __call__(self, u: Array, segment_ids: Array | None = None, *, causal: bool = False) -> Array:
        """Make the step on hidden states (..., T, D)."""
        equation = Diffusion(self.alpha[...])  # `evolve` checks only concrete coefficients
        return evolve_on_mesh(u, equation, steps=1, segment_ids=segment_ids, causal=causal)


class SwitchedLayer(nnx.Module):
    """A layer where the switch is 1, and the identity where it is 0."""

    def __init__(self, layer: Any, switch: Bool[Array, "*l"]) -> None:
        """Store the layer and its switch, () or (L,) for a layer stacked over L blocks."""
        self.layer, self.switch = layer, nnx.Variable(switch)

    def __call__(self, u: Array, segment_ids: Array | None = None, *, causal: bool = False) -> Array:
        """Apply the layer to hidden states (..., T, D), or return them as they are."""
        layer = (
            self.layer
        )  # a conditional computes only the branch that is taken, unless variants run side by side
        return jax.lax.cond(
            self.switch[...], lambda u: layer(u, segment_ids, causal=causal).astype(u.dtype), lambda u: u, u
        )


def switch_layers(model: Any, places: Sequence[str], settings: Settings) -> Any:
    """Return the model whose layers at the places have the switches and the α of one variant."""
    layers = model.config.layers
    for index, place in enumerate(places):
        inside = place not in OUTSIDE_BLOCKS

        stack = (layers,) if inside else ()
        layer = model.blocks.stencils[place] if inside else getattr(model, place)
        if model.config.stencil.kind == "heat":
            layer = HeatStep(jnp.broadcast_to(settings.alpha, stack))
        switched = SwitchedLayer(layer, jnp.broadcast_to(settings.switches[index], stack))
        if inside:
            model.blocks.stencils[place] = switched
        else:
            setattr(model, place, switched)
    return model


def switched_loss(
    loss: train.LossFunction, places: Sequence[str]
) -> Callable[[Settings], train.LossFunction]:
    """Return a function from the settings of one variant to the loss of its model."""

    def of_settings(settings: Settings) -> train.LossFunction:
        return lambda model, batch, key: loss(switch_layers(model, places, settings), batch, key)

    return of_settings


def merge_parts(tree: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of dictionaries in which the leaves of `part` replace those of `tree`."""
    return dict(tree) | {
        name: merge_parts(tree[name], value) if isinstance(value, Mapping) else value
        for name, value in part.items()
    }
