"""More seeds and variants for a run that exists: their rows are trained beside the old ones."""

import dataclasses
from typing import Any

from experiments import run
from experiments.lra.config import Config
from experiments.lra.controls import CONTROLS
from pid.interface.command_options import NONE

ALWAYS = ("seeds", "controls", "windows")
"""Fields that may always have more than the saved ones."""


def extend(saved: Config, config: Config) -> run.Extension[Config]:
    """Return the configuration with the seeds and variants of the saved run too.

    A layer or an equation that no saved variant has may take any options. With --combine, another place would change
    the variant that exists, so only seeds can be added.
    """
    changes: dict[str, Any] = {
        name: run.union(getattr(saved, name), getattr(config, name)) for name in ALWAYS
    }
    is_combined = saved.combine or config.combine
    if not is_combined:
        attention = saved.attention if config.attention.kind == NONE else config.attention
        changes |= {"placement": run.union(saved.placement, config.placement), "attention": attention}
    extended = dataclasses.replace(config, **changes)
    controls = [CONTROLS[name] for name in saved.controls]
    is_without_equation, is_without_layer = saved.attention.kind == NONE, saved.placement == (NONE,)
    has_place = any(control.stencil is not None for control in controls)
    fields: set[str] = set(ALWAYS)
    if is_without_layer and not any(control.reads_stencil for control in controls):
        fields.add("stencil")
    if is_combined and not (is_without_equation and is_without_layer):
        return run.Extension(extended, ALWAYS)
    if not has_place or extended.control_place == saved.control_place:
        fields.add("placement")
    if is_without_equation or config.attention.kind == NONE:
        fields.add("attention")
    if is_combined:
        fields.add("combine")
    return run.Extension(extended, sorted(fields))
