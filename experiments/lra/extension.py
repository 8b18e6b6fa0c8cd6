"""More seeds and variants for a run that exists: their rows are trained beside the old ones."""

import dataclasses
from typing import Any

from experiments import run
from experiments.lra.config import NONE, Config
from experiments.lra.controls import CONTROLS

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
    is_without_equation = saved.attention.kind == NONE
    is_baseline_only = saved.placement == (NONE,) and is_without_equation
    is_without_layer = saved.placement == (NONE,) and not any(
        CONTROLS[name].has_diffusion for name in saved.controls
    )
    fields = (*ALWAYS, *(("stencil",) if is_without_layer else ()))
    if saved.combine or config.combine:
        fields = (*fields, "placement", "attention", "combine") if is_baseline_only else ALWAYS
        return run.Extension(dataclasses.replace(config, **changes), fields)
    places = tuple(name for name in run.union(saved.placement, config.placement) if name != NONE)
    attention = saved.attention if config.attention.kind == NONE else config.attention
    changes |= {"placement": places or (NONE,), "attention": attention}
    fields = (*fields, "placement")
    fields += ("attention",) if is_without_equation or config.attention.kind == NONE else ()
    return run.Extension(dataclasses.replace(config, **changes), fields)
