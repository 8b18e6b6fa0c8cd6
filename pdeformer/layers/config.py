"""`StencilConfig`: the choice of a diffusion layer or control and its options, which a command line can set."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from flax import nnx

from pdeformer.layers.adaptive import AdaptiveStencil
from pdeformer.layers.canon import CanonLayer
from pdeformer.layers.heat import HeatLayer
from pdeformer.layers.multiscale import MultiScaleStencil
from pdeformer.layers.token_shift import TokenShift

Layer: TypeAlias = HeatLayer | AdaptiveStencil | MultiScaleStencil | CanonLayer | TokenShift
"""Any diffusion layer, or a control in its place."""


@dataclass(frozen=True)
class StencilConfig:
    """Which diffusion layer or control, and with which options.

    Every option but `kind` and `alpha` belongs to one kind. `build` makes the layer. The controls of equal place and
    nearly equal size are "canon", "shift" and "adaptive" with `free`; they promise no stability.

    Raises:
        ValueError: the kind is unknown, or an option of another kind differs from its default.

    Example:
        >>> from pdeformer.layers import StencilConfig
        >>> layer = StencilConfig("adaptive", width=5).build(channels=8)
        >>> type(layer).__name__, layer.taps().shape
        ('AdaptiveStencil', (8, 5))
    """

    kind: Literal["heat", "adaptive", "multiscale", "canon", "shift"] = "heat"
    """heat: one diffusivity for all channels; adaptive: a learned symmetric stencil per channel; multiscale: edges of
    several lengths whose weights together respect the stability bound. Controls: canon, a residual causal convolution
    of four taps per channel; shift, a learned mixture with the token before."""
    alpha: float | None = None
    """Smoothing per step, above 0 and up to 1/2. heat: the diffusivity (default 0.25); adaptive, multiscale: the
    initial sum of the weights (default 0.10); shift: the initial fraction of the token before (default 0.10). canon
    has none: its weights start at 0."""
    learned: bool = False
    """heat: learn the diffusivity, one number per layer."""
    steps: int = 1
    """heat: explicit Euler steps per layer."""
    width: int = 3
    """adaptive: number of taps, 3, 5 or 7."""
    input_adaptive: bool = False
    """adaptive: let the weight of an edge depend on its two tokens."""
    free: bool = False
    """adaptive: use an unconstrained depthwise kernel as a control, which may leave the stable set."""
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    """multiscale: edge lengths in tokens."""
    gated: bool = False
    """multiscale: compute the weights from the mean features of the segment, instead of learning them per channel."""
    bidirectional: bool = False
    """shift: shift half of the channels from the token after; has no causal form."""

    def __post_init__(self):
        """Check the kind, and that every option belongs to it."""
        owners = {
            "heat": ("learned", "steps"),
            "adaptive": ("width", "input_adaptive", "free"),
            "multiscale": ("dilations", "gated"),
            "canon": (),
            "shift": ("bidirectional",),
        }
        if self.kind not in owners:
            raise ValueError(
                f"a stencil's kind is a control, canon or shift, or one of heat, adaptive, multiscale, got "
                f"{self.kind!r}; choose one of them."
            )
        if self.kind == "canon" and self.alpha is not None:
            raise ValueError(
                f"the weights of kind 'canon' start at 0, got alpha={self.alpha}; drop it or choose another kind."
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
        """Make the layer.

        Args:
            channels: number of channels D of the hidden states.
            rngs: passed on to the layer, which does not use it.

        Returns:
            A `HeatLayer`, `AdaptiveStencil`, `MultiScaleStencil`, `CanonLayer` or `TokenShift`, by `kind`.

        Raises:
            ValueError: a value is out of its range; see the layers.
        """
        smoothing: Any = {} if self.alpha is None else {"alpha": self.alpha}
        if self.kind == "heat":
            return HeatLayer(learned=self.learned, steps=self.steps, **smoothing)
        if self.kind == "canon":
            return CanonLayer(channels, rngs=rngs)
        if self.kind == "shift":
            return TokenShift(channels, bidirectional=self.bidirectional, rngs=rngs, **smoothing)
        if self.kind == "adaptive":
            return AdaptiveStencil(
                channels,
                width=self.width,
                free=self.free,
                input_adaptive=self.input_adaptive,
                rngs=rngs,
                **smoothing,
            )
        return MultiScaleStencil(channels, dilations=self.dilations, gated=self.gated, rngs=rngs, **smoothing)
