"""The largest arrays of every study, which must fit the memory: samples, covariances and bootstrap draws."""

from experiments.pid_gaussian.config import StudyName
from pid.interface.memory_check import Arrays

FIELDS = 64
"""Bytes of the fields of a decomposition."""
ARRAYS: dict[StudyName, Arrays] = {
    "planted": {
        ("planted.layers", "planted.n"): 64,
        ("planted.layers", "planted.draws"): FIELDS,
        ("planted.layers", "planted.shuffles"): FIELDS,
        ("planted.networks",): 200,
    },
    "bias": {
        ("bias.n", "bias.structured"): 24,
        ("bias.n", "bias.null"): 24,
        ("bias.repeats",): FIELDS,
    },
    "coverage": {
        ("coverage.at-once", "coverage.n", "coverage.d"): 24,
        ("coverage.at-once", "coverage.draws"): FIELDS,
        ("coverage.repeats",): FIELDS,
    },
    "flow": {
        ("flow.n", "flow.source"): 32,
        ("flow.n", "flow.target"): 16,
        ("flow.source", "flow.source"): 32,
    },
    "trust": {("trust.repeats",): FIELDS, ("trust.draws",): FIELDS},
    "speed": {
        ("speed.batch", "speed.dims", "speed.dims"): 192,
        ("speed.n", "speed.dims"): 48,
        ("speed.layers", "speed.n", "speed.d"): 48,
        ("speed.layers", "speed.draws"): FIELDS,
        ("speed.draws", "speed.dims", "speed.dims"): 4,
    },
}
