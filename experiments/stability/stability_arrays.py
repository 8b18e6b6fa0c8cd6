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
    "analyses": {
        ("analyses.snapshots", "analyses.rows", "analyses.tokens", "analyses.width"): 8,
        ("analyses.rows", "analyses.rows"): 32,
        ("analyses.snapshots", "analyses.layers", "analyses.width", "analyses.ffn"): 8,
    },
}
