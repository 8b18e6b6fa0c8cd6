"""The largest arrays of every section, which must fit the memory."""

from experiments.stability.config import SectionName
from pid.interface.memory_check import Arrays

_STATES: dict[tuple[str, ...], int] = {
    ("network.rows", "network.tokens", "network.width"): 256,
    ("network.rows", "network.tokens", "network.ffn"): 64,
    ("network.rows", "network.tokens", "network.tokens", "network.heads"): 64,
}
"""The states of all settings of one program."""


def _weights(layers: str) -> dict[tuple[str, ...], int]:
    """Return the weights of all layers for every setting."""
    return {(layers, "network.width", "network.ffn"): 64, (layers, "network.width", "network.width"): 128}


ARRAYS: dict[SectionName, Arrays] = {
    "initialization": {**_STATES, **_weights("initialization.depths")},
    "horizon": {**_STATES, **_weights("horizon.layers")},
    "training": {
        ("training.batch", "training.tokens", "training.width", "training.depths"): 64,
        ("training.batch", "training.tokens", "training.tokens", "training.heads", "training.depths"): 16,
        ("training.batch", "training.steps", "training.tokens"): 8,
        ("training.depths", "training.width", "training.ffn"): 64,
        ("training.depths", "training.width", "training.width"): 128,
        ("training.vocabulary", "training.width"): 32,
    },
    "fit": {
        ("fit.rows", "fit.layers", "fit.tokens", "fit.width"): 16,
        ("fit.test_rows", "fit.layers", "fit.tokens", "fit.width"): 64,
        ("fit.train_batch", "fit.tokens", "fit.tokens", "fit.heads"): 4,
        ("fit.train_batch", "fit.tokens", "fit.ffn"): 4,
        ("fit.batch", "fit.layers", "fit.tokens", "fit.ffn"): 16,
        ("fit.layers", "fit.width", "fit.ffn"): 32,
        ("fit.layers", "fit.width", "fit.width"): 64,
        ("fit.vocabulary", "fit.width"): 32,
        ("fit.components", "fit.components"): 64,
        ("fit.components", "fit.ffn"): 32,
    },
    "analyses": {
        ("analyses.snapshots", "analyses.rows", "analyses.tokens", "analyses.width"): 8,
        ("analyses.rows", "analyses.rows"): 32,
        ("analyses.snapshots", "analyses.layers", "analyses.width", "analyses.ffn"): 8,
    },
}
