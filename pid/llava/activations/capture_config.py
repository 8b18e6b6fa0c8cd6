"""The choices of a capture: conditions, states, groups, options and storage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from pid.llava.activations.batching import Buckets, Conditions
from pid.llava.knockout import as_knockouts
from pid.llava.model.choices import as_groups
from pid.llava.preprocessing.prompts import check_text

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class CaptureConfig:
    """The choices of a capture: conditions, states, groups and storage.

    Together with the model and the caller's fingerprints, they are the configuration of a store.

    Raises:
        ValueError: no baseline or several, states of an unknown condition, invalid groups, another dtype.
    """

    conditions: Conditions
    """Name → knockouts, the baseline first."""
    states: tuple[str, ...]
    """The conditions whose states are stored. The answer is stored under every condition."""
    groups: tuple[int, ...]
    """Token types over which states are averaged."""
    options: tuple[int, ...]
    """Token ids whose logits are stored."""
    buckets: Buckets
    """Lengths to which prompts are padded."""
    dtype: str
    """Dtype of states on disk."""

    def __post_init__(self) -> None:
        """Check the choices and put the baseline first."""
        baselines = [name for name, knockouts in self.conditions.items() if not knockouts]
        if len(baselines) != 1:
            raise ValueError(
                f"one condition is the baseline, without knockouts, got {baselines}; have one 'baseline': ()."
            )
        baseline = {baselines[0]: ()}
        object.__setattr__(self, "conditions", baseline | {k: v for k, v in self.conditions.items() if v})
        object.__setattr__(self, "states", tuple(sorted({*self.states})))
        if unknown := {*self.states} - {*self.conditions}:
            raise ValueError(
                f"states are stored of conditions, got {sorted(unknown)}; name some of {list(self.conditions)}."
            )
        if not self.groups or len({*self.groups}) < len(self.groups) or min(self.groups) < 1:
            raise ValueError(f"groups are different types above PAD=0, got {self.groups}; name each once.")
        if not isinstance(self.buckets, Buckets):
            raise ValueError(
                f"buckets are Buckets(prefix=…, suffix=…), got {self.buckets!r}; pass these two."
            )
        if self.dtype not in DTYPES:
            raise ValueError(
                f"states are stored as {' or '.join(DTYPES)}, got {self.dtype!r}; name one of them."
            )


def _to_options(options: Any) -> tuple[int, ...]:
    """Token ids as a tuple; a single id is one option."""
    several: tuple[Any, ...] = (options,)
    if isinstance(options, Iterable) and getattr(options, "ndim", 1):
        several = tuple(options)
    if not all(isinstance(option, int | np.integer) and not isinstance(option, bool) for option in several):
        raise ValueError(
            f"options are token ids, got {options!r}; pass those of tokenizer.convert_tokens_to_ids."
        )
    return tuple(int(option) for option in several)


def make_capture_config(
    buckets: Buckets,
    *,
    conditions: Any,
    groups: Any,
    states: Any,
    options: Any,
    dtype: Any,
) -> CaptureConfig:
    """The choices of a capture from the arguments of `capture`, where one member may stand for a list of one.

    Raises:
        ValueError: the conditions have no names, or a choice breaks a rule of `CaptureConfig`.
    """
    if not isinstance(conditions, Mapping):
        raise ValueError(
            f"conditions have names, got {type(conditions).__name__}; pass a dictionary, with one 'baseline': ()."
        )
    if unnamed := [name for name in conditions if not isinstance(name, str)]:
        raise ValueError(f"conditions are named by strings, got {unnamed[0]!r}; write them as text.")
    for name in conditions:
        check_text("the name of a condition", name)
    names = conditions if states is None else states
    if not isinstance(names, Iterable):
        raise ValueError(f"states are names of conditions, got {states!r}; pass a list of them.")
    return CaptureConfig(
        {name: as_knockouts(knockouts) for name, knockouts in conditions.items()},
        (names,) if isinstance(names, str) else tuple(names),
        as_groups(groups),
        _to_options(options),
        buckets,
        dtype if isinstance(dtype, str) else _dtype_name(dtype),
    )


def _dtype_name(dtype: Any) -> str:
    """The name of a dtype, and the text of what is none."""
    try:
        return repr(dtype) if dtype is None else jnp.dtype(dtype).name
    except TypeError:
        return repr(dtype)
