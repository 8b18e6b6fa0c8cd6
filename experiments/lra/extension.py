"""More seeds and variants for a run that exists: their rows are trained beside the old ones."""

import dataclasses

from experiments import run
from experiments.lra.config import NONE, Config

ALWAYS = ("seeds", "controls", "windows")
"""Fields that may always have more than the saved ones."""


def extend(saved: Config, config: Config) -> run.Extension[Config]:
    """Return the configuration with the seeds and variants of the saved run too.

    A layer or an equation that no saved variant has may take any options. With --combine, another place would change
    the variant that exists, so only seeds can be added.
    """
    seeds = run.union(saved.seeds, config.seeds)
    controls, windows = run.union(saved.controls, config.controls), run.union(saved.windows, config.windows)
    config = dataclasses.replace(config, seeds=seeds, controls=controls, windows=windows)
    if saved.combine or config.combine:
        is_baseline_only = saved.placement == (NONE,) and saved.attention.kind == NONE
        fields = ("placement", "attention", "stencil", "combine") if is_baseline_only else ()
        return run.Extension(config, (*ALWAYS, *fields))
    places = tuple(name for name in run.union(saved.placement, config.placement) if name != NONE)
    is_without_layer, is_without_equation = saved.placement == (NONE,), saved.attention.kind == NONE
    fields = (*ALWAYS, "placement")
    fields += ("stencil",) if is_without_layer else ()
    fields += ("attention",) if is_without_equation or config.attention.kind == NONE else ()
    attention = saved.attention if config.attention.kind == NONE else config.attention
    extended = dataclasses.replace(config, placement=places or (NONE,), attention=attention)
    return run.Extension(extended, fields)
