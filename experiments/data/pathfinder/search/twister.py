"""Draws from 32-bit words as in `word_stream`, compiled by numba, with the words of the Mersenne twister.

`RandomState` cannot be called from compiled code, and nobody knows in advance how many words an image needs.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba  # pyright: ignore[reportMissingImports]
import numpy as np
from jaxtyping import UInt32

from experiments.data.pathfinder.search.word_stream import Seed

F = TypeVar("F", bound=Callable)
WORDS = 624
"""Words of the state of the Mersenne twister."""

State = UInt32[np.ndarray, " 625"]
"""The words of the Mersenne twister, and the number of those that are used up."""


def compiled(function: F) -> F:
    """Compile a function on its first call, and keep the result on disk if there is a place for it.

    Numba compiles a function again if its own file changes, but not if a constant or a function of another file does.
    """
    try:
        return cast(F, numba.njit(cache=True)(function))
    except RuntimeError:  # neither the folder of the file nor that of the user can be written
        return cast(F, numba.njit(function))


def initial_state(seed: Seed) -> State:
    """Return the state of `RandomState(seed)`."""
    _, words, position, *_ = np.random.RandomState(seed).get_state()
    return np.append(words, position).astype(np.uint32)


@compiled
def next_word(state: State) -> np.int64:
    """Return the next output of the Mersenne twister MT19937 [Matsumoto & Nishimura 1998]."""
    if state[WORDS] == WORDS:
        for i in range(WORDS):
            joined = (state[i] & np.uint32(0x80000000)) | (state[(i + 1) % WORDS] & np.uint32(0x7FFFFFFF))
            odd = np.uint32(0x9908B0DF) if joined & np.uint32(1) else np.uint32(0)
            state[i] = state[(i + 397) % WORDS] ^ (joined >> np.uint32(1)) ^ odd
        state[WORDS] = 0
    word = np.int64(state[np.int64(state[WORDS])])
    state[WORDS] += np.uint32(1)
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C5680
    word ^= (word << 15) & 0xEFC60000
    return word ^ (word >> 18)


@compiled
def below(state: State, limit: int) -> int:
    """Return randint(0, limit)."""
    if limit == 1:
        return 0
    mask = 1
    while mask < limit:
        mask *= 2
    value = next_word(state) & (mask - 1)
    while value >= limit:
        value = next_word(state) & (mask - 1)
    return int(value)


@compiled
def uniform(state: State) -> float:
    """Return rand()."""
    high = next_word(state) >> 5
    return (high * 67108864.0 + (next_word(state) >> 6)) / 9007199254740992.0
