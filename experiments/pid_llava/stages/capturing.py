"""Capture states and answers of a model, with and without Image→Question knockouts, in a store that survives a kill.

L layers, n samples
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.pid_llava import result_cache
from experiments.pid_llava.checkpoint import ModelFolder
from experiments.pid_llava.config import Config, Group
from experiments.pid_llava.stages.knockout_conditions import ALL, BASELINE, conditions
from experiments.pid_llava.stages.questions import Questions
from pid import llava
from pid.llava import TokenType

GROUPS: dict[Group, TokenType] = {
    "image": TokenType.IMAGE,
    "question": TokenType.QUESTION,
    "text": TokenType.TEXT,
    "last": TokenType.LAST,
}


class Capture(NamedTuple):
    """Answers and hidden states of one model for the questions of one task."""

    model: str
    task: str
    name: str
    """Fingerprint of the capture."""
    store: llava.Store
    right: np.ndarray
    """Whether each answer is right (n,)."""
    used: np.ndarray
    """Indices of the questions that are decomposed, increasing."""


def fingerprint(model: ModelFolder, questions: Questions, config: Config, *, windows: bool) -> str:
    """Return the fingerprint of everything on which a capture depends."""
    options = config.capture
    by_name = conditions(model.config.text.num_layers, windows=windows, width=options.width)
    facts = {
        "weights": model.weights_fingerprint,
        "encoding": model.encoding_fingerprint,
        "questions": questions.fingerprint,
        "conditions": {
            name: [vars(knockout) for knockout in knockouts] for name, knockouts in by_name.items()
        },
        "groups": sorted(_groups(config)),
        "dtype": options.dtype,
    }
    return result_cache.digest(facts)


def _groups(config: Config) -> set[int]:
    return {int(GROUPS[group]) for group in (config.x, config.y, "last")}


def capture_states(model: ModelFolder, questions: Questions, config: Config, *, windows: bool) -> Capture:
    """Capture the states of baseline and full knockout, and the answers under all conditions.

    Each host captures its share, or all capture together, see `llava.capture`. Questions in the store are not captured
    again, and a complete store needs no model.
    """
    options, name = config.capture, fingerprint(model, questions, config, windows=windows)
    folder = result_cache.store_folder(config.cache, name)
    if not result_cache.is_complete(config.cache, name):
        with result_cache.one_run_at_a_time(config.cache, name):
            if not result_cache.is_complete(config.cache, name):
                _capture(model, questions, config, folder, windows=windows)
                result_cache.mark_complete(config.cache, name)
    store = llava.Store.open(folder)
    if len(store.names) != len(questions.answers):
        raise ValueError(
            f"a complete store has every question, got {len(store.names)} of {len(questions.answers)} in {folder}; "
            f"delete {folder}.whole and start again."
        )
    right = model.is_right(store.greedy(BASELINE).tolist(), questions.answers)
    used = np.flatnonzero(right) if options.only_correct else np.arange(len(right))
    return Capture(model.name, questions.task, name, store, right, used[: options.samples])


def _capture(
    model: ModelFolder, questions: Questions, config: Config, folder: Path, *, windows: bool
) -> None:
    """Capture the questions that are not in the store."""
    options = config.capture
    llava.capture(
        model.network,
        _Prompts(model.processor, questions),
        conditions=conditions(model.config.text.num_layers, windows=windows, width=options.width),
        groups=sorted(_groups(config)),
        states=(BASELINE, ALL),
        store=folder,
        weights=model.weights_fingerprint,
        encoding=model.encoding_fingerprint,
        buckets=questions.buckets,
        batch=options.batch,
        dtype=options.dtype,
    )


class _Prompts:
    """The encoded questions of a task: a sized iterable that encodes them lazily."""

    def __init__(self, processor: llava.Processor, questions: Questions) -> None:
        self._processor, self._questions = processor, questions

    def __len__(self) -> int:
        return len(self._questions.answers)

    def __iter__(self) -> Iterator[Any]:
        return self._questions.rows(self._processor)


def probability_changes(capture: Capture) -> dict[str, np.ndarray]:
    """Return 100 (p_new - p_base) / p_base of the used questions under each knockout, in percent (n,)."""
    store = capture.store
    return {name: store.change(name)[capture.used] for name in store.conditions if name != store.baseline}
