"""Controls: variants without a PDE, of the same place and nearly the same size, that a diffusion layer has to beat.

A control of a layer stands at the first place of --placement. The other controls change one choice of the Transformer.
"""

from typing import Any, NamedTuple

from pdeformer.layers import StencilConfig


class Control(NamedTuple):
    """What a variant changes."""

    text: str
    """One line for the documentation of the option."""
    stencil: StencilConfig | None = None
    """Layer in the place of the diffusion layer; None: no layer."""
    model: dict[str, Any] = {}
    """Fields of `ModelConfig`."""


CONTROLS = {
    "convolution": Control(
        "unconstrained depthwise convolution of three taps", StencilConfig("adaptive", free=True)
    ),
    "canon": Control("residual causal convolution of four taps (Canon layer)", StencilConfig("canon")),
    "shift": Control("token shift: a learned mixture with the token before", StencilConfig("shift")),
    "positions_only": Control(
        "diffusion of the position code alone", model={"placements": ("positions_only",)}
    ),
    "sinusoidal": Control("sinusoidal positions", model={"positions": "sinusoidal"}),
    "learned": Control("learned positions", model={"positions": "learned"}),
    "rotary": Control("rotary positions", model={"positions": "rotary"}),
    "alibi": Control("a penalty of the distance in place of positions (ALiBi)", model={"positions": "alibi"}),
    "no_positions": Control("no positions", model={"positions": "none"}),
    "performer": Control("attention by random features (Performer)", model={"mixer": "performer"}),
    "lru": Control("linear recurrent unit in place of attention", model={"mixer": "lru"}),
}
"""Name of the variant -> control."""
WINDOW = "window_"
"""Prefix of the variants of --windows, as in window_16."""


def window_control(window: int) -> Control:
    """Return the control whose tokens attend to at most `window` tokens on either side."""
    return Control(f"attention within {window} tokens", model={"mixer": "windowed", "window": window})


def control_of(component: str) -> Control | None:
    """Return the control with this name, None if the component is a place or an equation."""
    if component.startswith(WINDOW):
        return window_control(int(component.removeprefix(WINDOW)))
    return CONTROLS.get(component)


def describe_controls() -> str:
    """Return the names of all controls with what they are."""
    return "; ".join(f"{name}: {control.text}" for name, control in CONTROLS.items())


def apply(control: Control, fields: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` with the changes of a control."""
    layer = {} if control.stencil is None else {"placements": (place,), "stencil": control.stencil}
    return fields | layer | control.model
