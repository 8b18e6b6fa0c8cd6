"""The largest arrays of every section, which must fit the memory."""

from experiments.bench.config import Config, SectionName
from pid.interface.memory_check import Arrays

_STATE: Arrays = {("state.tokens", "state.channels", "state.batch"): 8}
_WIDTH = ("llava.heads", "llava.head-width")
ARRAYS: dict[SectionName, Arrays] = {
    "evolved": {("lengths", "attention.heads", "attention.width", "attention.batch"): 16},
    "attention": {
        ("attention.tokens", "attention.heads", "attention.width", "attention.batch"): 16,
        ("attention.tokens", "attention.tokens", "attention.heads", "attention.batch"): 4,
    },
    "taps": _STATE,
    "backward": _STATE,
    "training": {("training.lengths", "training.lengths", "training.batch"): 16},
    "loader": {("loader.examples", "loader.tokens"): 1},
    "pid": {("pid.batch", "pid.loop", "pid.loop"): 32, ("pid.batch", "pid.iterative", "pid.iterative"): 32},
    "llava": {
        ("llava.layers", *_WIDTH, "llava.ffn"): 12,
        ("llava.layers", *_WIDTH, *_WIDTH): 16,
        ("llava.prefix", *_WIDTH): 12,
        ("llava.suffix", *_WIDTH): 12,
    },
}


def arrays_of(name: SectionName, config: Config) -> Arrays:
    """Return the arrays of a section. A folder with a model replaces the sizes of section llava."""
    if name == "llava" and config.llava.text is not None:
        return {}
    if name == "evolved" and max(config.lengths) <= config.largest_matrix:
        return {**ARRAYS[name], ("lengths", "lengths", "attention.heads", "attention.batch"): 4}
    return ARRAYS[name]
