"""Mutual information from nearest neighbors, without a tree, for a few hundred samples.

Two continuous variables [Kraskov, Stögbauer & Grassberger 2004, estimator 1]:

    I(A;B) = ψ(k) + ψ(n) - E[ψ(n_a + 1) + ψ(n_b + 1)] nats

n_a and n_b count the samples closer in a and in b, by the largest coordinate, than the k-th neighbor is in (a, b).
A continuous and a discrete variable [Ross 2014]:

    I(A;Y) = ψ(n) + ψ(k) - E[ψ(n_y) + ψ(m + 1)] nats

n_y is the number of samples of the same label, and m counts the samples of any label closer than the k-th neighbor of
the same label. All distances are computed, n² numbers, which is
faster than the trees of `pid.estimators.checks.neighbors` for a few hundred samples.

Weaknesses. Both have a large negative bias where the dependence is strong or the dimension high: neighbors cannot tell
apart what is closer than their distances, so an estimate of I(A;A), which is infinite, is finite. Ties (equal rows)
count as distance 0.

    n samples, d coordinates
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma


def continuous_information(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n e"], *, neighbors: int = 4
) -> float:
    """Return I(A;B) in bits of two continuous variables; values below 0 are errors of the estimate."""
    check_neighbors(neighbors, len(a))
    in_a, in_b = distances(a), distances(b)
    reach = np.partition(np.maximum(in_a, in_b), neighbors - 1, axis=1)[:, neighbors - 1, None]
    means = sum(np.mean(digamma(np.sum(d < reach, axis=1) + 1)) for d in (in_a, in_b))
    return float((digamma(neighbors) + digamma(len(a)) - means) / np.log(2))


def label_information(
    a: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, neighbors: int = 4
) -> float:
    """Return I(A;Y) in bits of a continuous variable and a label.

    A label of k samples or fewer takes the neighbors that it has; a label of one sample is left out.
    """
    check_neighbors(neighbors, len(a))
    apart, terms = distances(a), []
    names, counts = np.unique(labels, return_counts=True)
    n = int(counts[counts > 1].sum())
    for name, count in zip(names, counts, strict=True):
        if count < 2:
            continue
        members, k = np.flatnonzero(labels == name), min(neighbors, int(count) - 1)
        reach = np.partition(apart[np.ix_(members, members)], k - 1, axis=1)[:, k - 1, None]
        closer = np.sum(apart[members] < reach, axis=1)
        terms.append(count * (digamma(k) - digamma(count)) - np.sum(digamma(closer + 1)))
    return float((digamma(n) + sum(terms) / n) / np.log(2)) if n else 0.0


def distances(a: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Return the distances by the largest coordinate; infinite from a sample to itself."""
    apart = np.zeros((len(a), len(a)), a.dtype)
    for column in a.T:
        np.maximum(apart, np.abs(column[:, None] - column), out=apart)
    np.fill_diagonal(apart, np.inf)
    return apart


def check_neighbors(neighbors: int, samples: int) -> None:
    """Raise ValueError unless there are more samples than neighbors."""
    if not 1 <= neighbors < samples:
        raise ValueError(
            f"neighbors are at least 1 and fewer than the samples, got {neighbors} of {samples}; change neighbors."
        )
