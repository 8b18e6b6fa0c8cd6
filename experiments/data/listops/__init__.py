"""ListOps: nested list operations on digits, generated, or read from the published files.

Files in import order:

grammar             sequences, their vocabulary and their value
baselines           accuracies of predictors without a model, for comparison with a model
generator           random sequences with the distribution of the benchmark
distinct_sequences  different sequences, in shards that a later process continues
release             the published files
listops_builder     a TFDS data set, generated or published
listops_options     options of the command line that choose a data set
listops_splits      the splits as arrays, prepared once
"""

import warnings
from collections.abc import Callable
from typing import Any

from experiments.data.listops.baselines import baseline_accuracies
from experiments.data.listops.distinct_sequences import distinct
from experiments.data.listops.generator import generate
from experiments.data.listops.grammar import CLASSES, SYMBOLS, VOCABULARY, encode, evaluate
from experiments.data.listops.listops_builder import FULL, QUICK, RELEASE, ListOps, ListOpsConfig
from experiments.data.listops.release import check_release_lengths, content_hash, published_files, read_tsv

__all__ = [
    "CLASSES",
    "FULL",
    "QUICK",
    "RELEASE",
    "SYMBOLS",
    "VOCABULARY",
    "ListOps",
    "ListOpsConfig",
    "baseline_accuracies",
    "check_release_lengths",
    "content_hash",
    "distinct",
    "encode",
    "evaluate",
    "generate",
    "published_files",
    "read_tsv",
]


def __getattr__(name: str) -> Callable[..., Any]:
    """Resolve `ladder`, the deprecated name of `baseline_accuracies`, with a warning."""
    if name != "ladder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("listops.ladder is now listops.baseline_accuracies", DeprecationWarning, stacklevel=2)
    return baseline_accuracies
