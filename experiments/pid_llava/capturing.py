"""States and answers of a model, with and without Image→Question knockouts, in a store that survives a kill.

L layers, n samples
"""

from typing import NamedTuple

import numpy as np

from experiments.pid_llava import result_cache
from experiments.pid_llava.checkpoint import Opened
from experiments.pid_llava.config import Config, Group
from experiments.pid_llava.questions import Questions
from pid import llava
from pid.llava import Knockout, TokenType

BASELINE, ALL = "baseline", "all"
GROUPS: dict[Group, TokenType] = {
    "image": TokenType.IMAGE,
    "question": TokenType.QUESTION,
    "text": TokenType.TEXT,
    "last": TokenType.LAST,
}
OF_LAYERS = 9 / 32  # layers of a window of Zhang et al. in a model of 32


class Captured(NamedTuple):
    """What a model said, and what it held while it said it."""

    model: str
    task: str
    name: str
    """The fingerprint of the capture."""
    store: llava.Store
    right: np.ndarray
    """Whether each answer is right (n,)."""
    used: np.ndarray
    """The rows that are decomposed, rising."""


def width_of(layers: int, width: int | None) -> int:
    """Layers of a window: as asked, or 9 of 32 scaled to the depth, at least one."""
    return max(1, round(OF_LAYERS * layers)) if width is None else width


def conditions(layers: int, *, windows: bool, width: int | None) -> dict[str, tuple[Knockout, ...]]:
    """The model as it is; Image→Question cut in all layers; and in a window about each."""
    found = {BASELINE: (), ALL: (Knockout("all"),)}
    if windows:
        around = llava.windows(layers, width_of(layers, width))
        found |= {f"window {layer}": (Knockout(window),) for layer, window in enumerate(around)}
    return found


def fingerprint(opened: Opened, asked: Questions, config: Config, *, windows: bool) -> str:
    """Of all that a capture depends on."""
    asking = config.asking
    cuts = conditions(opened.config.text.num_layers, windows=windows, width=asking.width)
    facts = {
        "weights": opened.weights,
        "encoding": opened.encoding,
        "questions": asked.fingerprint,
        "conditions": {name: [vars(cut) for cut in knockouts] for name, knockouts in cuts.items()},
        "groups": sorted(_groups(config)),
        "dtype": asking.dtype,
    }
    return result_cache.digest(facts)


def _groups(config: Config) -> set[int]:
    return {int(GROUPS[group]) for group in (config.x, config.y, "last")}


def capture(opened: Opened, asked: Questions, config: Config, *, windows: bool) -> Captured:
    """The states of baseline and full knockout and the answers under all conditions, of every question.

    Each host captures its share. What is in the store is not captured again, and a store that is whole needs no model.
    """
    asking, name = config.asking, fingerprint(opened, asked, config, windows=windows)
    folder = result_cache.store(config.kept, name)
    if not result_cache.is_whole(config.kept, name):
        folder.parent.mkdir(parents=True, exist_ok=True)
        llava.capture(
            opened.model,
            _Rows(opened.processor, asked),
            conditions=conditions(opened.config.text.num_layers, windows=windows, width=asking.width),
            groups=sorted(_groups(config)),
            states=(BASELINE, ALL),
            store=folder,
            weights=opened.weights,
            encoding=opened.encoding,
            buckets=asked.buckets,
            batch=asking.batch,
            dtype=asking.dtype,
        )
        result_cache.mark_whole(config.kept, name)
    store = llava.Store.open(folder)
    if len(store.names) != len(asked.answers):
        raise ValueError(
            f"a whole store has every question, got {len(store.names)} of {len(asked.answers)} in {folder}; delete "
            f"{folder}.whole and start again."
        )
    right = opened.is_right(store.greedy(BASELINE).tolist(), asked.answers)
    used = np.flatnonzero(right) if asking.only_correct else np.arange(len(right))
    return Captured(opened.name, asked.task, name, store, right, used[: asking.samples])


class _Rows:
    """Rows encoded as they are asked for, whose number is known."""

    def __init__(self, processor: llava.Processor, asked: Questions):
        self._processor, self._asked = processor, asked

    def __len__(self) -> int:
        return len(self._asked.answers)

    def __iter__(self):
        return self._asked.rows(self._processor)


def changes(captured: Captured) -> dict[str, np.ndarray]:
    """100 (p_new - p_base) / p_base of the rows used, under each knockout: percent (n,)."""
    store = captured.store
    return {name: store.change(name)[captured.used] for name in store.conditions if name != store.baseline}
