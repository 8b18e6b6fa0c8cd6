"""Depth of ListOps sequences: by hand, against a loop; sequences of one depth: exact tables, exact draws, refusals."""

import collections
import itertools
import random
from typing import Any

import numpy as np
import pytest

from experiments.data import listops
from experiments.data.listops.depth_ladder import depths, generate_depth, probability_table
from experiments.data.listops.generator import stream
from experiments.data.listops.grammar import CLOSE, OPERATORS


def depth_of(tokens):
    """The depth of one sequence, token by token."""
    lists = [0]
    for token in tokens:
        lists.append(lists[-1] + (token in OPERATORS) - (token == CLOSE))
    return max(lists)


def as_rows(sequences):
    width = max(map(len, sequences))
    return np.stack([np.pad(listops.encode(tokens), (0, width - len(tokens))) for tokens in sequences])


def test_depths_by_hand():
    texts = ("7", "[MAX 2 9 ]", "[MAX 2 [MIN 4 7 ] [SM 1 1 ] ]", "[SM [SM [SM 1 2 ] 3 ] 4 ]")
    np.testing.assert_array_equal(depths(as_rows([text.split() for text in texts])), [0, 1, 2, 3])
    assert depths(np.zeros((0, 5), np.uint8)).shape == (0,)


def test_depths_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr("experiments.data.listops.depth_ladder.ROWS_AT_ONCE", 64)
    sequences = [tokens for tokens, _ in listops.generate(300, seed=0, min_length=0, max_length=200)]
    np.testing.assert_array_equal(depths(as_rows(sequences)), [depth_of(tokens) for tokens in sequences])


def test_accuracy_by_depth_counts_hits():
    rows = as_rows([text.split() for text in ("[MAX 2 9 ]", "[MAX 2 [MIN 4 7 ] ]", "[SM 1 2 ]", "[SM 4 2 ]")])
    result = listops.accuracy_by_depth(rows, np.array([True, False, False, True]))
    assert result == {1: (2 / 3, 3), 2: (0.0, 1)}


def plain_lengths(depth, limit):
    """Length -> probability of a node of depth at most `depth`, over dictionaries."""
    lengths: Any = collections.Counter({1: 0.75})
    if depth:
        inner = plain_lengths(depth - 1, limit)
        several: Any = collections.Counter({0: 1.0})
        for number in range(1, 11):
            several, shorter = collections.Counter(), several
            for (a, p), (b, q) in itertools.product(shorter.items(), inner.items()):
                if a + b < limit:
                    several[a + b] += p * q
            if number >= 2:
                for length, p in several.items():
                    lengths[length + 2] += 0.25 / 9 * p
    return collections.Counter({length: p for length, p in lengths.items() if length < limit})


def test_the_table_holds_the_probabilities_of_every_depth_and_length():
    limit = 26
    table = probability_table(3, limit)
    for depth in range(4):
        at_most = plain_lengths(depth, limit)
        np.testing.assert_allclose(table.at_most[depth][1], [at_most[x] for x in range(limit)], rtol=1e-12)
        less = plain_lengths(depth - 1, limit) if depth else {}
        exact = [at_most[x] - less.get(x, 0.0) for x in range(limit)]
        np.testing.assert_allclose(table.exact[depth][1], exact, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("depth", [1, 2])
def test_sequences_are_distributed_as_those_that_the_benchmark_accepts(depth):
    """Lengths and number of arguments of the root, against rejection from the stream of the benchmark."""
    count, limit = 1500, 22
    trees = (tokens for tokens, _ in stream(random.Random(1), min_length=0, max_length=limit))
    accepted = list(itertools.islice((tokens for tokens in trees if depth_of(tokens) == depth), count))
    ours = [tokens for tokens, _ in generate_depth(count, depth=depth, seed=0, max_length=limit)]
    for feature in (len, lambda tokens: sum(token in OPERATORS for token in tokens)):
        a, b = (collections.Counter(map(feature, sequences)) for sequences in (accepted, ours))
        cells = [key for key in a | b if a[key] + b[key] >= 10]
        statistic = sum((a[key] - b[key]) ** 2 / (a[key] + b[key]) for key in cells)
        assert statistic < len(cells) + 5 * np.sqrt(2 * len(cells)) + 1  # chi squared of two samples


@pytest.mark.parametrize("depth", range(1, 11))
def test_sequences_have_their_depth_their_lengths_and_their_value(depth):
    pairs = generate_depth(20, depth=depth, seed=3, max_length=80)
    for tokens, label in pairs:
        assert depth_of(tokens) == depth
        assert 3 * depth + 1 <= len(tokens) < 80
        assert listops.evaluate(tokens) == label
    assert generate_depth(7, depth=depth, seed=3, max_length=80) == pairs[:7]
    assert generate_depth(20, depth=depth, seed=4, max_length=80) != pairs


def test_the_shortest_sequence_of_a_depth_is_drawn_if_nothing_else_fits():
    ((tokens, _),) = generate_depth(1, depth=10, seed=0, max_length=32)
    assert len(tokens) == 31
    lengths = [len(x) for x, _ in generate_depth(50, depth=4, seed=0, min_length=60, max_length=64)]
    assert set(lengths) == {61, 62, 63}


def test_test_sets_are_splits_of_one_depth():
    sets = listops.depth_test_sets(5, seed=0, max_length=50, levels=range(2, 5))
    assert list(sets) == [2, 3, 4]
    for depth, split in sets.items():
        assert split.tokens.shape == (5, 49)
        np.testing.assert_array_equal(depths(split.tokens), [depth] * 5)
        np.testing.assert_array_equal((split.tokens > 0).sum(axis=1), split.lengths)
        symbols = [listops.VOCABULARY[i] for i in split.tokens[0, : split.lengths[0]]]
        assert listops.evaluate(symbols) == split.labels[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 0}, "a depth is 1 to 10, got depth=0; change it"),
        ({"depth": 11}, "got depth=11"),
        ({"depth": 5, "max_length": 16}, "depth 5 has 16 tokens or more.*max_length=16; lower min_length"),
        ({"depth": 1, "max_length": 0}, "max_length=0"),
        ({"depth": 1, "min_length": 12}, "min_length=12"),
    ],
)
def test_depths_and_lengths_that_no_sequence_has_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        generate_depth(1, seed=0, **options)
