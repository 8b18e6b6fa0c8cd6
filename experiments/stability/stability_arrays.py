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
    return {(layers, "network.width", "network.ffn"): 512, (layers, "network.width", "network.width"): 1024}


ARRAYS: dict[SectionName, Arrays] = {
    "initialization": {**_STATES, **_weights("initialization.depths")},
    "horizon": {**_STATES, **_weights("horizon.layers")},
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
}
