"""The tasks of the benchmark and their successors: title, head, and the options that choose their data."""

from typing import Any, Literal, NamedTuple

from pdeformer.model import CausalLM, Classifier, Matcher

Head = Literal["classifier", "matcher", "tokens"]
"""classifier: one label for a sequence; matcher: one for a pair of sequences; tokens: labels of single tokens."""

HEADS: dict[Head, Any] = {"classifier": Classifier, "matcher": Matcher, "tokens": CausalLM}
"""Head of a task -> model."""


class Task(NamedTuple):
    """One task."""

    title: str
    """Name in tables."""
    head: Head
    """What the model predicts."""
    group: str
    """Option, or group of options, of its data."""
    in_benchmark: bool = True
    """Whether it is one of the six tasks of the Long Range Arena."""


TASKS = {
    "listops": Task("ListOps", "classifier", "generated"),
    "text": Task("Text", "classifier", "text"),
    "retrieval": Task("Retrieval", "matcher", "retrieval"),
    "image": Task("Image", "classifier", "image"),
    "pathfinder": Task("Pathfinder", "classifier", "pathfinder"),
    "pathx": Task("Path-X", "classifier", "pathfinder"),
    "mqar": Task("MQAR", "tokens", "recall", in_benchmark=False),
    "selective-copy": Task("Selective copy", "tokens", "recall", in_benchmark=False),
}
"""Name -> task, in the order of the columns of the benchmark."""
BENCHMARK = tuple(name for name, task in TASKS.items() if task.in_benchmark)
"""The six tasks."""
GROUPS = ("text", "retrieval", "image", "pathfinder", "recall")
"""Groups of options that belong to some tasks only, besides those of ListOps."""
LISTOPS_OPTIONS = ("source", "generated", "release")
"""Options and groups of ListOps."""
