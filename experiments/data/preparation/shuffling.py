"""The order in which a fixed data set is split."""

import numpy as np
from jaxtyping import Int


def shuffled_order(size: int, seed: int) -> Int[np.ndarray, " n"]:
    """Return the indices 0 to n - 1 in the order Generator(Philox(key=seed)).permutation(n).

    Args:
        size: number of examples, n.
        seed: seed of the order, 0 or more.
    """
    return np.random.Generator(np.random.Philox(key=seed)).permutation(size)
