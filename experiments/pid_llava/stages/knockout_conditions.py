"""The conditions under which a model is captured: which layers lose the Image→Question attention."""

from pid import llava
from pid.llava import Knockout

BASELINE, ALL = "baseline", "all"
WINDOW = "window "  # before the middle layer, in the name of a condition
WINDOW_SHARE = 9 / 32  # Zhang et al. use windows of 9 layers in a model of 32 layers


def window_width(layers: int, width: int | None) -> int:
    """Return the number of layers of a window: `width`, or 9 of 32 scaled to the depth and at least one."""
    return max(1, round(WINDOW_SHARE * layers)) if width is None else width


def conditions(layers: int, *, windows: bool, width: int | None) -> dict[str, tuple[Knockout, ...]]:
    """Return the conditions by name.

    They are the baseline, the Image→Question knockout in all layers and, with `windows`, in a window around each layer.

    Answers are compared under all of them; `capturing` and `decomposing` say of which ones the states are decomposed.
    """
    knockouts: dict[str, tuple[Knockout, ...]] = {BASELINE: (), ALL: (Knockout("all"),)}
    if windows:
        by_layer = llava.windows(layers, window_width(layers, width))
        knockouts |= {f"{WINDOW}{layer}": (Knockout(window),) for layer, window in enumerate(by_layer)}
    return knockouts
