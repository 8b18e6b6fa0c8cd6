"""Tables with known decompositions, random tables, and an independent solver of BROJA."""

import numpy as np

BITS = 1 / np.log(2)
LOG_3 = np.log2(3)
AND_INFORMATION = 0.5 * np.log2(4 / 3) + 0.25 * np.log2(2 / 3) + 0.25  # I(T;X) of an AND gate


def from_words(words, size=4):
    """Return p(t, x, y) of equally likely words "xyt", padded by values that never occur."""
    table = np.zeros((size, size, size))
    for word in words.split():
        x, y, t = map(int, word)
        table[t, x, y] += 1 / len(words.split())
    return table


WORDS = {
    "and": "000 010 100 111",
    "or": "000 011 101 111",
    "xor": "000 011 101 110",
    "rdn": "000 111",
    "unq": "000 011 102 113",  # two-bit copy: each source has a bit of its own
    "unq_x": "000 010 101 111",
    "sum": "000 011 101 112",
    "rdn_xor": "000 011 101 110 222 233 323 332",
    "pw_unq": "011 101 022 202",
    "wb_2": "000 011 111 102",
    "gband": "000 010 100 111 222 232 322 333",
}
"""Examples of Williams & Beer 2010, Griffith & Koch 2014, Bertschinger et al. 2014, Ince 2017."""
TABLES = {name: from_words(words) for name, words in WORDS.items()}


def random_tables(shape, count, seed=0, concentration=1.0, zeros=0.0):
    """Draw tables from a Dirichlet law, with a share of zeros."""
    rng = np.random.default_rng(seed)
    tables = rng.dirichlet(np.full(np.prod(shape), concentration), size=count).reshape(count, *shape)
    tables = tables * (rng.random(tables.shape) >= zeros) + 1e-3 * np.eye(np.prod(shape))[0].reshape(shape)
    return tables / tables.sum((1, 2, 3), keepdims=True)


def information(table):
    """Compute I(T;X,Y) of one table in nats."""
    independent = table.sum((1, 2), keepdims=True) * table.sum(0, keepdims=True)
    mask = table > 0
    return float(np.sum(table[mask] * np.log(table[mask] / independent[mask])))


def union_by_barrier(table):
    """Minimize I_q(T;X,Y) in bits over couplings by a primal barrier method, along moves that keep both pairs.

    The method has no dual: it shares nothing with the tested one. Its error is 1e-9 nats per cell. p is positive.
    """
    size_t, size_x, size_y = table.shape
    moves = []
    for t in range(size_t):
        for x in range(size_x - 1):
            for y in range(size_y - 1):
                move = np.zeros(table.shape)
                move[t, x, y] = move[t, -1, -1] = 1
                move[t, x, -1] = move[t, -1, y] = -1
                moves.append(move.ravel())
    moves = np.array(moves).T
    pairs = table.sum(2)[:, :, None] * table.sum(1)[:, None] / table.sum((1, 2), keepdims=True)
    same_pair = np.kron(np.ones((size_t, size_t)), np.eye(size_x * size_y))
    theta, offset = np.zeros(moves.shape[1]), pairs.ravel()

    def value(q, weight):
        conditional = q / (same_pair @ q)
        return np.sum(q * np.log(conditional)) - weight * np.sum(np.log(q))

    for weight in 10.0 ** np.arange(-2, -9.5, -0.5):
        for _ in range(50):
            q = offset + moves @ theta
            total = same_pair @ q
            gradient = moves.T @ (np.log(q / total) - weight / q)
            hessian = moves.T @ ((np.diag(1 / q + weight / q**2) - same_pair / total[:, None]) @ moves)
            step = -np.linalg.solve(hessian, gradient)
            decrement = -gradient @ step
            if decrement < 1e-13:
                break
            length, old = 1.0, value(q, weight)
            while np.min(q + length * moves @ step) <= 0 or (
                value(q + length * moves @ step, weight) > old - 0.1 * length * decrement + 1e-15
            ):
                length *= 0.5
                if length < 1e-10:
                    break
            theta = theta + length * step
    return information((offset + moves @ theta).reshape(table.shape)) * BITS
