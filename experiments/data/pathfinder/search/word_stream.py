"""Draws from 32-bit words, as NumPy's legacy `RandomState` makes them."""

import numpy as np

WORDS_AT_ONCE = 4096

Seed = int | tuple[int, ...]


class WordStream:
    """`RandomState.randint` and `rand` for one number at a time, many times faster than the calls.

    Args:
        seed: one or several numbers from 0 to 2³² - 1, as for `RandomState`.
    """

    def __init__(self, seed: Seed):
        """Start the stream of a seed."""
        self._state = np.random.RandomState(seed)
        self._words: list[int] = []

    def _word(self) -> int:
        if not self._words:
            self._words = self._state.randint(0, 2**32, WORDS_AT_ONCE, np.uint32)[::-1].tolist()
        return self._words.pop()

    def below(self, limit: int) -> int:
        """Return randint(0, limit): the first word whose low bits are below the limit; no word for limit 1."""
        if limit == 1:
            return 0
        mask = (1 << (limit - 1).bit_length()) - 1
        while (value := self._word() & mask) >= limit:
            pass
        return value

    def uniform(self) -> float:
        """Return rand(): 53 bits of two words."""
        high, low = self._word() >> 5, self._word() >> 6
        return (high * 67108864 + low) / 9007199254740992
