"""More seeds, texts and variants for a run that exists: their trainings stand beside the old ones."""

import dataclasses
from typing import Any

from experiments import run
from experiments.text.config import Config

LISTS = ("corpora", "seeds", "equations", "targets", "placement")
"""Fields that may have more than the saved ones."""


def extend(saved: Config, config: Config) -> run.Extension[Config]:
    """Return the configuration with the texts, seeds and variants of the saved run too."""
    changes: dict[str, Any] = {name: run.union(getattr(saved, name), getattr(config, name)) for name in LISTS}
    kinds = run.union(saved.official.kinds, config.official.kinds)
    changes["official"] = dataclasses.replace(config.official, kinds=kinds)
    fields: set[str] = set(LISTS)
    if dataclasses.replace(saved.official, kinds=kinds) == changes["official"]:
        fields.add("official")
    return run.Extension(dataclasses.replace(config, **changes), sorted(fields))
