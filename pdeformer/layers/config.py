"""`StencilConfig`: the choice of a diffusion layer and its options, as a value that a command line can fill in."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flax import nnx

from pdeformer.layers.adaptive import AdaptiveStencil
from pdeformer.layers.heat import HeatLayer
from pdeformer.layers.multiscale import MultiScaleStencil

Layer: TypeAlias = HeatLayer | AdaptiveStencil | MultiScaleStencil


@dataclass(frozen=True)
class StencilConfig:
    """Which diffusion layer, and with which options; an option that its kind does not have is refused."""

    kind: Literal["heat", "adaptive", "multiscale"] = "heat"
    """heat: one diffusivity for all; adaptive: a learned symmetric stencil per channel; multiscale: several
    dilations under one stability budget."""
    alpha: float | None = None
    """Smoothing per step, up to 1/2: the diffusivity (heat, default 0.25) or the initial sum of weights
    (0.10)."""
    learned: bool = False
    """heat: learn the diffusivity, one number per layer."""
    steps: int = 1
    """heat: explicit Euler steps per layer."""
    width: int = 3
    """adaptive: number of taps, 3, 5 or 7."""
    input_adaptive: bool = False
    """adaptive: let the weight of an edge depend on its two tokens."""
    free: bool = False
    """adaptive: unconstrained depthwise kernel, the control that may leave the stable set."""
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    """multiscale: edge lengths in tokens."""
    gated: bool = False
    """multiscale: weights from the pooled features of the segment instead of one per channel."""

    def __post_init__(self):
        owners = {
            "heat": ("learned", "steps"),
            "adaptive": ("width", "input_adaptive", "free"),
            "multiscale": ("dilations", "gated"),
        }
        if self.kind not in owners:
            raise ValueError(
                f"a stencil's kind is one of {', '.join(owners)}, got {self.kind!r}; choose one of them."
            )
        for kind, names in owners.items():
            for name in names:
                value = getattr(self, name)
                if kind != self.kind and value != getattr(StencilConfig, name):
                    raise ValueError(
                        f"{name} belongs to kind {kind!r}, got {name}={value} with kind {self.kind!r}; "
                        f"drop it or set kind={kind!r}."
                    )

    def build(self, channels: int, rngs: nnx.Rngs | None = None) -> Layer:
        """The layer for hidden states of `channels` channels.

        Raises ValueError for values out of range, as the layers do.
        """
        given = {} if self.alpha is None else {"alpha": self.alpha}
        if self.kind == "heat":
            return HeatLayer(learned=self.learned, steps=self.steps, **given)
        if self.kind == "adaptive":
            return AdaptiveStencil(
                channels,
                width=self.width,
                free=self.free,
                input_adaptive=self.input_adaptive,
                rngs=rngs,
                **given,
            )
        return MultiScaleStencil(channels, dilations=self.dilations, gated=self.gated, rngs=rngs, **given)
