"""`SimulatorConfig`, the switches of a simulation, and `Coefficients`, its numbers."""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Array, Float

from pdeformer.stencil.arguments import check_flag, check_integer

Number = float | Float[Array | np.ndarray, "*g"]
Norm = Literal["none", "pre", "post"]
Integrator = Literal["euler", "heun", "rk4"]


class Coefficients(NamedTuple):
    """The numbers of the master equation; each may be traced, so that one program serves a grid of G points of them.

    Example:
        >>> Coefficients(residual=0.0, diffusion=0.25).attention
        1.0
    """

    residual: Number = 1.0
    """Residual connection ρ in [0, 1]: the share of the old state in u⁺ = ρ u + change. 0 is a network without it."""
    attention: Number = 1.0
    """Strength λ of the attention; 0 switches it off."""
    feed_forward: Number = 1.0
    """Strength of the feed-forward sublayer; 0 switches it off."""
    diffusion: Number | Float[Array | np.ndarray, "*g d"] = 0.0
    """Diffusivity D ≥ 0, tokens² per unit of time; one number, or one per channel."""
    friction: Number = 0.0
    """Friction γ ≥ 0 of the velocity, per unit of time; only for order 2."""
    dt: Number = 1.0
    """Time of one step. The horizon is layers · substeps · dt; a Transformer has dt = 1 and one substep."""


TRANSFORMER = Coefficients()
"""The coefficients of a Transformer."""


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """The switches of a simulation, which are fixed when it is compiled.

    Raises:
        ValueError: a size is below 1, a choice is unknown, or two choices contradict each other.

    Example:
        >>> SimulatorConfig(layers=4, norm="none").integrator
        'euler'
    """

    layers: int = 12
    """Number of layers L; each has weights of its own unless `shared`."""
    substeps: int = 1
    """Time steps within a layer, all with the weights of the layer."""
    shared: bool = False
    """One set of weights for all layers, so that the equation does not depend on time."""
    width: int = 64
    """Channels D."""
    heads: int = 4
    """Attention heads N, which divide the width."""
    ffn: int = 128
    """Hidden width of the feed-forward sublayer."""
    activation: Literal["gelu", "relu"] | str = "gelu"
    """Nonlinearity of the feed-forward sublayer."""
    norm: Norm | str = "pre"
    """LayerNorm: none; pre, of the inputs of attention and feed-forward; post, of the state after each addition."""
    splitting: Literal["sequential", "parallel"] | str = "sequential"
    """sequential: attention, feed-forward, diffusion in turn, as a Transformer (Lie splitting); parallel: their sum."""
    order: Literal[1, 2] | int = 1
    """Order in time: 1, ∂u/∂t is the force; 2, ∂²u/∂t² is, and a velocity is carried along."""
    integrator: Integrator | str = "euler"
    """Rule of a time step. For order 2, euler is the leapfrog."""
    diffusion: Literal["explicit", "exact", "implicit"] | str = "explicit"
    """explicit: part of the force; exact: the heat flow exp(dt D L) after it; implicit: (1 - dt D L)⁻¹ after it."""
    causal: bool = False
    """Whether a token sees only itself and earlier tokens. Diffusion is then a backward difference."""

    def __post_init__(self):
        """Check that the choices fit together."""
        for name in ("layers", "substeps", "width", "heads", "ffn"):
            check_integer(name, getattr(self, name))
        for name in ("shared", "causal"):
            check_flag(name, getattr(self, name))
        for field in fields(self):
            options = [x for part in get_args(field.type) for x in (get_args(part) or ())]
            value = getattr(self, field.name)
            if options and value not in options:
                raise ValueError(
                    f"{field.name} is one of {', '.join(map(str, options))}, got {value!r}; choose one."
                )
        if self.width % self.heads:
            raise ValueError(
                f"width must be divisible by heads, got {self.width} and {self.heads}; change one of them."
            )
        if self.order == 2 and (self.splitting != "parallel" or self.diffusion != "explicit"):
            raise ValueError(
                f"order 2 adds all forces to one velocity: splitting='parallel' and diffusion='explicit', got "
                f"{self.splitting!r} and {self.diffusion!r}; choose them."
            )
        if self.causal and self.diffusion != "explicit":
            raise ValueError(
                f"causal diffusion is a backward difference, which is explicit, got {self.diffusion!r}; "
                f"use diffusion='explicit'."
            )

    @property
    def steps(self) -> int:
        """Number of all time steps."""
        return self.layers * self.substeps
