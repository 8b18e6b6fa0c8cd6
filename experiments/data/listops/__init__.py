"""ListOps: nested list operations on digits, generated, or read from the published files.

`language` says what a sequence is and what it is worth, `generator` draws the benchmark's distribution,
`release` reads the published files, `builder` makes either of them a TFDS data set, and `ladder` gives
the accuracies that a model's number on it must be read against.
"""

from experiments.data.listops.baselines import ladder
from experiments.data.listops.generator import distinct, generate
from experiments.data.listops.grammar import CLASSES, SYMBOLS, VOCABULARY, encode, evaluate
from experiments.data.listops.listops_builder import FULL, QUICK, RELEASE, ListOps, ListOpsConfig
from experiments.data.listops.release import read_tsv

__all__ = [
    "CLASSES",
    "FULL",
    "QUICK",
    "RELEASE",
    "SYMBOLS",
    "VOCABULARY",
    "ListOps",
    "ListOpsConfig",
    "distinct",
    "encode",
    "evaluate",
    "generate",
    "ladder",
    "read_tsv",
]
