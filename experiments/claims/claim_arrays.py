"""The largest arrays of every section, which must fit the memory."""

from experiments.claims.config import SectionName
from pid.interface.memory_check import Arrays


def _network(section: str) -> dict[tuple[str, ...], int]:
    """Return the weights with gradients and moments, and the states of a batch."""
    layers, width, ffn = (f"{section}.{name}" for name in ("layers", "width", "ffn"))
    return {
        (layers, width, ffn): 32,  # two matrices in float32, four times
        (layers, width, width): 64,
        (f"{section}.vocabulary", width): 16,
    }


CLASSIFIERS: Arrays = _network("training") | {
    ("training.batch", "training.tokens", "training.width"): 4,
    ("training.tokens", "training.width"): 16,
}
ARRAYS: dict[SectionName, Arrays] = {
    "decay": {("decay.tokens",): 64, ("decay.attention-tokens", "decay.attention-tokens"): 4},
    "entropy": {("entropy.tokens", "entropy.tokens", "entropy.heads"): 8},
    "instability": {
        ("instability.tokens", "instability.waves"): 16,
        ("instability.alphas", "instability.waves"): 8,
    },
    "gradients": CLASSIFIERS,
    "landscape": {
        **CLASSIFIERS,
        ("landscape.rows", "training.tokens", "training.width"): 4,
        ("landscape.points", "landscape.points"): 8,
        ("landscape.points", "landscape.directions"): 8,
        ("landscape.iterations", "training.layers", "training.width", "training.ffn"): 4,
    },
    "artifact": {
        **_network("artifact"),
        ("artifact.lines", "artifact.lengths"): 4,
        ("artifact.test-lines", "artifact.lengths"): 4,
        ("artifact.batch", "artifact.lengths", "artifact.vocabulary"): 4,
        ("artifact.batch", "artifact.lengths", "artifact.width"): 4,
    },
}
