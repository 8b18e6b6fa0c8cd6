"""Controls: variants without a PDE, of the same place and nearly the same size, that a diffusion layer has to beat.

A control of a layer stands at the first place of --placement, or after the embedding. The other controls change one
choice of the Transformer; of these only learned positions have parameters of their own, a table of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from flax import nnx

from experiments import run
from pdeformer.layers import StencilConfig


class Control(NamedTuple):
    """What a variant changes."""

    stencil: StencilConfig | None = None
    """Layer in the place of the diffusion layer; None: no layer."""
    model: dict[str, Any] = {}
    """Fields of `ModelConfig`."""

    @property
    def is_causal(self) -> bool:
        """Whether a causal model can have it."""
        if (stencil := self.stencil) is None:
            return True
        # by its shapes alone, because options are made before several hosts join, and then no device may start
        return nnx.eval_shape(lambda: stencil.build(1)).causal_form

    @property
    def reads_stencil(self) -> bool:
        """Whether the variant depends on --stencil: it has this layer, or its width."""
        return "placements" in self.model if self.stencil is None else self.stencil.kind == "adaptive"


CONTROLS = {
    # unconstrained depthwise convolution, with the width of the diffusion layer
    "convolution": Control(StencilConfig("adaptive", free=True)),
    # residual causal convolution of four taps
    "canon": Control(StencilConfig("canon")),
    # a learned mixture with the token before
    "shift": Control(StencilConfig("shift")),
    # diffusion of the position code alone
    "positions_only": Control(model={"placements": ("positions_only",)}),
    "sinusoidal": Control(model={"positions": "sinusoidal"}),
    "learned": Control(model={"positions": "learned"}),
    "rotary": Control(model={"positions": "rotary"}),
    "alibi": Control(model={"positions": "alibi"}),
    "no_positions": Control(model={"positions": "none"}),
    # attention by random features
    "performer": Control(model={"mixer": "performer"}),
    # linear recurrent unit in place of attention, and of rotary positions or ALiBi
    "lru": Control(model={"mixer": "lru"}),
}
"""Name of the variant -> control."""
WINDOW = "window_"
"""Prefix of the variants of --windows, as in window_16."""


def window_control(window: int) -> Control:
    """Return the control whose tokens attend to at most `window` tokens on either side."""
    return Control(model={"mixer": "windowed", "window": window})


def control_of(component: str) -> Control | None:
    """Return the control with this name, None if the component is a place or an equation."""
    if component.startswith(WINDOW):
        return window_control(int(component.removeprefix(WINDOW)))
    return CONTROLS.get(component)


def check_controls(controls: Sequence[str], windows: Sequence[int]) -> None:
    """Check the controls of a run.

    Args:
        controls: names of the controls.
        windows: windows of the locality probe.

    Raises:
        ValueError: a control is unknown or repeated.
    """
    run.check_names("controls", controls, CONTROLS, may_be_empty=True)
    run.check_names("windows", list(map(str, windows)), may_be_empty=True)


def apply(control: Control, fields: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` with the changes of a control.

    Args:
        control: the control.
        fields: those of the baseline, and the diffusion layer as `stencil`.
        place: where a layer stands.
    """
    changes = dict(control.model)
    if control.stencil is not None:
        changes |= {"placements": (place,), "stencil": control.stencil}
        if control.stencil.kind == "adaptive":
            width = fields["stencil"].width  # 3 for a layer of another kind
            changes["stencil"] = dataclasses.replace(control.stencil, width=width)
    if "mixer" in changes:  # options of the mixer of the baseline
        changes = {"window": None, "features": None, "states": None} | changes
    if changes.get("mixer") == "lru" and fields["positions"] in ("rotary", "alibi"):
        changes["positions"] = "none"
    return fields | changes
