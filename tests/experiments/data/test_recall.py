"""Recall tasks: the arrays against plain loops, laws of the rows, distributions, preparation, refusals."""

import dataclasses
import hashlib
import itertools
from typing import Any

import numpy as np
import pytest

from experiments.data.recall import RecallConfig, mqar, mqar_rows, selective_copy, selective_copy_rows
from experiments.data.recall import recall_config as config_module

SMALL: Any = {"vocabulary": 14, "items": 2, "max_len": 17}
MQAR: list[Any] = [
    {"hops": 1, "power": 0.01, "filler": "blank"},
    {"hops": 1, "power": 1.0, "filler": "random"},
    {"hops": 2, "power": 0.5, "filler": "blank"},
]
GOLDEN = {
    "mqar": "1d58f9fc69ead4b15db5f951",
    "selective_copy": "23c79bd43f9ac340c059ed22",
}


def smallest(numbers, count):
    """Positions of the smallest numbers, one after another."""
    left, result = list(numbers), []
    for _ in range(count):
        place = min(range(len(left)), key=lambda i: left[i])
        result.append(place)
        left[place] = np.inf
    return result


def plain_mqar(draws, *, vocabulary, items, max_len, hops):
    """Rows of MQAR token by token, from their random numbers."""
    half = vocabulary // 2
    tokens, labels = [], []
    for keys, values, order, arrivals, fillers in zip(*draws, strict=True):
        key_ids = [2 + place for place in smallest(keys, items * hops)]
        value_ids = [half + 1 + place for place in smallest(values, items)]
        pairs = [
            (key_ids[i], key_ids[i + items] if i < items * (hops - 1) else value_ids[i - items * (hops - 1)])
            for i in range(items * hops)
        ]
        if hops == 2:
            pairs = [pairs[i] for i in smallest(order, items * hops)]
        row, label = [token for pair in pairs for token in pair], [-1] * (2 * items * hops)
        items_of_slots = dict(zip(smallest(arrivals, items), range(items), strict=True))
        while len(row) < max_len:
            slot, rest = divmod(len(row) - 2 * items * hops, 2)
            item = items_of_slots.get(slot) if rest == 0 else None
            label.append(-1 if item is None else value_ids[item])
            row.append(fillers[len(row)] if item is None else key_ids[item])
        tokens.append(row)
        labels.append(label)
    return np.array(tokens), np.array(labels)


@pytest.mark.parametrize("options", MQAR, ids=str)
def test_mqar_is_what_plain_loops_write(options):
    rows = mqar_rows(np.random.default_rng(3), 50, **SMALL, **options)
    draws = mqar.draw(np.random.default_rng(3), 50, **SMALL, **options)
    tokens, labels = plain_mqar(draws, **SMALL, hops=options["hops"])
    np.testing.assert_array_equal(rows.tokens, tokens)
    np.testing.assert_array_equal(rows.labels, labels)
    assert (rows.tokens.dtype, rows.labels.dtype) == (np.uint8, np.int32)


def test_selective_copy_is_what_plain_loops_write():
    sizes = {"vocabulary": 9, "items": 3, "max_len": 14}
    rows = selective_copy_rows(np.random.default_rng(3), 50, **sizes)
    draws = selective_copy.draw(np.random.default_rng(3), 50, **sizes)
    for places, data, tokens, labels in zip(*draws, *rows, strict=True):
        row, left = [1] * 11 + [9] * 3, list(data)
        for place in sorted(smallest(places, 3)):
            row[place] = left.pop(0)
        assert tokens.tolist() == row
        assert labels.tolist() == [-1] * 11 + list(data)


@pytest.mark.parametrize("options", MQAR, ids=str)
def test_a_query_of_mqar_is_answered_by_following_the_pairs_from_its_key(options):
    rows = mqar_rows(np.random.default_rng(0), 300, vocabulary=20, items=3, max_len=40, **options)
    start = 6 * options["hops"]
    for tokens, labels in zip(*rows, strict=True):
        follow = dict(zip(tokens[:start:2], tokens[1:start:2], strict=True))
        assert len(follow) == start // 2
        queries = np.flatnonzero(labels >= 0)
        assert len(queries) == len(set(tokens[queries])) == 3
        assert min(queries) >= start
        for query in queries:
            answer = tokens[query]
            for _ in range(options["hops"]):
                answer = follow[answer]
            assert answer == labels[query]
            assert 11 <= answer <= 20


def test_without_random_fillers_only_blanks_stand_between_the_queries():
    rows = mqar_rows(np.random.default_rng(0), 20, vocabulary=20, items=3, max_len=40)
    rest = rows.tokens[:, 6:][rows.labels[:, 6:] < 0]
    assert set(rest) == {mqar.BLANK}
    random = mqar_rows(np.random.default_rng(0), 200, vocabulary=20, items=3, max_len=40, filler="random")
    assert set(random.tokens[:, 6:][random.labels[:, 6:] < 0]) == set(range(1, 21))


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_queries_draw_their_slots_one_after_another_without_replacement(power):
    slots, items, count = 4, 2, 40_000
    weights = [(slot + 1) ** (power - 1) for slot in range(slots)]
    arrivals = np.random.default_rng(0).standard_exponential((count, slots)) / mqar.slot_weights(slots, power)
    pairs = mqar.query_slots(arrivals, items)
    for first, second in itertools.permutations(range(slots), items):
        p = weights[first] / sum(weights) * weights[second] / (sum(weights) - weights[first])
        share = np.mean((pairs[:, 0] == first) & (pairs[:, 1] == second))
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / count)


def test_data_of_selective_copy_are_uniform_in_place_and_kind():
    rows = selective_copy_rows(np.random.default_rng(0), 20_000, vocabulary=6, items=2, max_len=10)
    shares = np.mean(rows.tokens[:, :8] > 1, axis=0)
    np.testing.assert_allclose(shares, 1 / 4, atol=4.5 * np.sqrt(3 / 16 / 20_000))
    kinds = np.bincount(rows.labels[rows.labels > 0], minlength=7)[2:6] / 40_000
    np.testing.assert_allclose(kinds, 1 / 4, atol=4.5 * np.sqrt(3 / 16 / 40_000))


@pytest.mark.parametrize("task", GOLDEN)
def test_the_first_rows_have_their_golden_hash(task):
    sizes: Any = {"task": task, "items": 4, "max_len": 32, "vocabulary": 30}
    rows = next(RecallConfig(**sizes, train=100).blocks("train"))
    assert hashlib.sha256(rows.tokens.tobytes() + rows.labels.tobytes()).hexdigest()[:24] == GOLDEN[task]


def test_a_row_depends_on_seed_split_and_its_number_only(monkeypatch):
    monkeypatch.setattr(config_module, "ROWS_PER_BLOCK", 8)
    config = RecallConfig(items=2, max_len=20, train=30, val=9, test=9)

    def rows(config, split):
        return np.concatenate([block.tokens for block in config.blocks(split)])

    whole = rows(config, "train")
    assert whole.shape == (30, 20)
    np.testing.assert_array_equal(rows(dataclasses.replace(config, train=11), "train"), whole[:11])
    others = (rows(config, "val"), rows(config, "test"), rows(dataclasses.replace(config, seed=1), "train"))
    for other in others:
        assert not np.array_equal(other[:9], whole[:9])
    assert len({row.tobytes() for row in whole}) == 30


def test_floors_are_those_of_predictors_that_recall_nothing():
    uniform = RecallConfig(items=4, max_len=64, power=1.0)
    floors = uniform.floors
    assert floors["chance"] == 1 / 128
    assert floors["a value of the row"] == 0.25
    assert abs(floors["position of the query"] - 0.25) < 0.02
    near = RecallConfig(items=4, max_len=64).floors["position of the query"]
    assert 0.26 < near < 0.32  # early pairs have early queries
    assert RecallConfig(items=4, hops=2).floors["position of the query"] == 0.25
    assert RecallConfig("selective_copy", vocabulary=16, items=4).floors == {"chance": 1 / 14}


def test_the_position_floor_is_that_of_a_plain_count():
    """Two items in two slots of weights 1 and 1/2: the first pair has the first slot in two rows of three."""
    accuracy = mqar.position_accuracy(
        np.random.default_rng(0), 20_000, items=2, max_len=8, hops=1, power=1e-9
    )
    assert abs(accuracy - 2 / 3) < 4.5 * np.sqrt(2 / 9 / 20_000)


def test_prepared_arrays_hold_the_rows_and_are_generated_once(tmp_path, monkeypatch, capsys):
    config = RecallConfig(items=2, max_len=16, vocabulary=12, train=20, val=5, test=5)
    assert not config.is_prepared(tmp_path)
    splits = config.prepare(tmp_path)
    assert "generating MQAR (2 pairs, 16 tokens) once" in capsys.readouterr().err
    for name, split in splits.items():
        rows = next(config.blocks(name))
        np.testing.assert_array_equal(split.tokens, rows.tokens)
        np.testing.assert_array_equal(split.labels, rows.labels)
        assert set(split.lengths) == {16}
        assert split.vocabulary == config.symbols
        assert (split.classes, split.first_id) == (13, 0)
    assert config.is_prepared(tmp_path)
    assert not dataclasses.replace(config, seed=1).is_prepared(tmp_path)
    monkeypatch.setattr(config_module, "mqar_rows", None)
    again = config.prepare(tmp_path, verify=True)
    assert [split.sha256 for split in again.values()] == [split.sha256 for split in splits.values()]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("task", GOLDEN)
def test_symbols_have_one_name_for_every_id(task):
    config = RecallConfig(task, vocabulary=30, items=4, max_len=32)
    assert len(config.symbols) == len(set(config.symbols)) == 31


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "copy"}, "mqar or selective_copy and generated, got task='copy'"),
        ({"source": "web"}, "source='web'"),
        ({"train": 0}, "sizes=\\(0, 3000, 3000\\)"),
        ({"items": 0}, "items=0"),
        ({"seed": -1}, "seed=-1"),
        ({"vocabulary": 256}, "uint8.*got vocabulary=256; change it"),
        ({"vocabulary": 3}, "4 to 255 symbols, got vocabulary=3"),
        ({"hops": 3}, "hops 1 or 2.*got hops=3"),
        ({"power": 0.0}, "positive power.*power=0.0"),
        ({"filler": "zeros"}, "filler='zeros'"),
        ({"vocabulary": 9}, "4 and 4 here, got 3 and 5 symbols"),
        ({"items": 5, "max_len": 19}, "5 items need 20 tokens.*got max_len=19"),
        ({"task": "selective_copy", "hops": 2}, "hops belong to mqar, got 2 for selective_copy"),
        ({"task": "selective_copy", "items": 40}, "40 items, got max_len=64"),
    ],
)
def test_a_task_that_does_not_exist_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RecallConfig(**options)
