"""ListOps: grammar by hand, the stream against a golden hash and a plain implementation, data set, baselines."""

import dataclasses
import hashlib
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import listops
from experiments.data.arrays import Split
from experiments.data.listops import listops_builder as builder_module
from experiments.data.listops.baselines import depth_one, label_frequencies, read_top
from experiments.data.listops.grammar import ID, OPERATORS

GOLDEN = "709324fca8f0ee06c7410d297a742c2fb4c54342bd1654ea04f045b9665f185d"
TINY = listops.ListOpsConfig(min_length=3, max_length=30, train=60, val=20, test=20)
SHORT = {"min_length": 9, "max_length": 65}


def plain_tree(rng, depth=1):
    """A direct implementation of the reference generator: (value, tokens)."""
    if depth == 10 or rng.random() > 0.25:
        digit = rng.choice(range(10))
        return digit, [str(digit)]
    children = [plain_tree(rng, depth + 1) for _ in range(rng.randint(2, 10))]
    operator = rng.choice(("[MIN", "[MAX", "[MED", "[SM"))
    values = [value for value, _ in children]
    apply = {"[MIN": min, "[MAX": max, "[MED": np.median, "[SM": lambda v: sum(v) % 10}[operator]
    return int(apply(values)), [operator, *(token for _, tokens in children for token in tokens), "]"]


def as_split(pairs):
    tokens = np.zeros((len(pairs), max(len(sequence) for sequence, _ in pairs)), np.uint8)
    for row, (sequence, _) in zip(tokens, pairs, strict=True):
        row[: len(sequence)] = listops.encode(sequence)
    lengths = np.array([len(sequence) for sequence, _ in pairs], np.int32)
    labels = np.array([label for _, label in pairs], np.int32)
    return Split(tokens, lengths, labels, listops.VOCABULARY, listops.CLASSES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MIN 3 [MAX 1 2 ] 8 ]", 2),
        ("[MED 1 9 4 ]", 4),
        ("[MED 1 4 ]", 2),  # 2.5, rounded down
        ("[SM 9 8 [SM 7 6 ] 1 ]", 1),
    ],
)
def test_a_sequence_is_worth_what_it_says(text, value):
    assert listops.evaluate(text.split()) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cut off with 0 lists open"),
        ("[MAX 1 2", "cut off with 1 lists open"),
        ("[MAX 1 2 ] 3", "ends before token 4, '3'"),
        ("[MAX ]", "']' at token 1"),
        ("]", "']' at token 0"),
        ("[MAX 1 12 ]", "'12' at token 2"),
        ("[TOP 1 2 ]", "'[TOP' at token 0"),
    ],
)
def test_what_is_not_one_whole_expression_is_refused(text, words):
    with pytest.raises(ValueError, match="must be one whole expression") as error:
        listops.evaluate(text.split())
    assert words in str(error.value)


def test_the_vocabulary_is_fixed_with_padding_first():
    assert " ".join(listops.VOCABULARY) == "<pad> [MIN [MAX [MED [SM ] 0 1 2 3 4 5 6 7 8 9"
    ids = listops.encode(("[SM", "0", "9", "]"))
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, [4, 6, 15, 5])


def test_the_first_hundred_samples_have_the_golden_hash():
    lines = [f"{' '.join(tokens)}\t{label}" for tokens, label in listops.generate(100, seed=0)]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == GOLDEN


@pytest.mark.parametrize(("lengths", "count"), [(SHORT, 300), ({"min_length": 0, "max_length": 5}, 2000)])
def test_passing_over_hopeless_trees_leaves_the_stream_as_the_plain_recipe_draws_it(lengths, count):
    rng, plain = random.Random(7), []
    while len(plain) < count:
        value, tokens = plain_tree(rng)
        if lengths["min_length"] < len(tokens) < lengths["max_length"]:
            plain.append((tuple(tokens), value))
    assert list(listops.generate(count, seed=7, **lengths)) == plain


def test_labels_are_values_and_lengths_lie_strictly_inside_their_bounds():
    pairs = list(listops.generate(2000, seed=3, **SHORT))
    assert all(listops.evaluate(tokens) == label for tokens, label in pairs)
    lengths = {len(tokens) for tokens, _ in pairs}
    assert (min(lengths), max(lengths)) == (10, 64)


@pytest.mark.parametrize("lengths", [(1, 4), (500, 501), (10, 5)])
def test_lengths_that_no_sequence_has_are_refused(lengths):
    with pytest.raises(ValueError, match="1 token or at least 4.*lower min_length or raise max_length"):
        listops.generate(1, seed=0, min_length=lengths[0], max_length=lengths[1])


def test_distinct_sequences_are_distinct_and_likely_ones_spread_over_the_whole_list():
    rows = listops.distinct(100, seed=0, min_length=0, max_length=7)
    assert len({row.ids for row in rows}) == len(rows) == 100
    digits = [place for place, row in enumerate(rows) if len(row.ids) == 1]
    assert len(digits) == 10
    assert max(digits) > 50  # in the order of the stream all ten are among the first twenty


def test_more_distinct_sequences_than_there_are_is_refused():
    with pytest.raises(ValueError, match="20 different ones of 1 to 2 tokens are needed, got 10 among"):
        listops.distinct(20, seed=0, min_length=0, max_length=3)


@pytest.mark.parametrize("change", [{"train": 0}, {"seed": -1}, {"source": "web"}, {"max_length": 4}])
def test_a_configuration_that_makes_no_set_is_refused(change):
    with pytest.raises(ValueError, match="ListOps"):
        dataclasses.replace(TINY, **change)


def test_sets_that_differ_have_names_that_differ():
    changes = (
        {},
        {"seed": 1},
        {"min_length": 4},
        {"max_length": 29},
        {"train": 61},
        {"val": 21},
        {"test": 19},
    )
    assert len({dataclasses.replace(TINY, **change).name for change in changes}) == len(changes)


def build(config, folder, **options):
    data = listops.ListOps(config=config, data_dir=folder, file_format="array_record")
    data.download_and_prepare(**options)
    return data


def rows_of(data):
    return {
        split: [
            (example["tokens"].tobytes(), int(example["label"])) for example in data.as_data_source(split)
        ]
        for split in ("train", "val", "test")
    }


def test_the_builder_makes_disjoint_splits_and_makes_them_once(tmp_path, monkeypatch):
    data = build(TINY, tmp_path)
    rows = rows_of(data)
    assert [len(split) for split in rows.values()] == [60, 20, 20]
    assert len({ids for split in rows.values() for ids, _ in split}) == 100
    for ids, label in rows["test"]:
        assert listops.evaluate([listops.VOCABULARY[i] for i in ids]) == label
    monkeypatch.setattr(builder_module, "distinct", None)
    again = build(dataclasses.replace(TINY), tmp_path)
    assert rows_of(again) == rows
    assert again.info.metadata == {"vocabulary": list(listops.VOCABULARY)}


@pytest.mark.parametrize("config", [dataclasses.replace(listops.QUICK), listops.QUICK.name])
def test_an_equal_copy_or_the_name_of_a_preset_is_the_preset(tmp_path, config):
    data = listops.ListOps(config=config, data_dir=tmp_path)
    assert data.builder_config is listops.QUICK


def test_the_builder_writes_and_reads_without_tensorflow(tmp_path):
    program = f"""
import sys
from experiments.data import arrays, listops
config = listops.ListOpsConfig(min_length=3, max_length=30, train=6, val=2, test=2)
data = listops.ListOps(config=config, data_dir={str(tmp_path)!r}, file_format="array_record")
splits = arrays.prepare(data, max_len=30, data_dir={str(tmp_path)!r})
print(len(splits["train"].labels), "tensorflow" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["6", "False"]


SOURCE = "( ( ( [MAX 1 ) 2 ) ] )"


def write_tsv(path, *rows, header="Source\tTarget"):
    path.write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
    return path


def test_a_published_file_is_read_without_its_parentheses(tmp_path):
    path = write_tsv(
        tmp_path / "basic_val.tsv", f"{SOURCE}\t2", "( ( ( [SM 9 ) ( ( ( [MIN 3 ) 4 ) ] ) ) ] )\t2"
    )
    assert list(listops.read_tsv(path, rows=2)) == [
        (("[MAX", "1", "2", "]"), 2),
        (("[SM", "9", "[MIN", "3", "4", "]", "]"), 2),
    ]


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        ([f"{SOURCE}\t2"], "Source,Target", "the header of basic_test.tsv is 'Source,Target'"),
        ([f"{SOURCE}\t2", "( ( [MAX 1 ) 2 "], "Source\tTarget", "row 2 of basic_test.tsv has a bad Source"),
        ([f"{SOURCE}\t"], "Source\tTarget", "row 1 of basic_test.tsv has Target '', its value is 2"),
        ([f"{SOURCE}\t3"], "Source\tTarget", "has Target '3', its value is 2"),
        ([f"{SOURCE}\t2", "", f"{SOURCE}\t2"], "Source\tTarget", "row 2 of basic_test.tsv"),
        ([f"{SOURCE}\t2"], "Source\tTarget", "has 1 rows, expected 3"),
    ],
)
def test_a_damaged_published_file_is_refused_with_the_place_of_the_damage(tmp_path, rows, header, words):
    path = write_tsv(tmp_path / "basic_test.tsv", *rows, header=header)
    with pytest.raises(ValueError, match="extract the file from the release again") as error:
        list(listops.read_tsv(path, rows=3))
    assert words in str(error.value)


def test_the_builder_reads_the_published_files_from_the_manual_folder(tmp_path):
    pairs = list(listops.generate(6, seed=0, min_length=3, max_length=30))
    for split, part in zip(("train", "val", "test"), (pairs[:4], pairs[4:5], pairs[5:]), strict=True):
        write_tsv(tmp_path / f"basic_{split}.tsv", *(f"{' '.join(tokens)}\t{y}" for tokens, y in part))
    config = listops.ListOpsConfig(source="lra_release", train=4, val=1, test=1)
    options = {"download_config": tfds.download.DownloadConfig(manual_dir=str(tmp_path))}
    rows = rows_of(build(config, tmp_path / "data", **options))
    assert sorted(rows["train"]) == sorted((listops.encode(t).tobytes(), y) for t, y in pairs[:4])
    (tmp_path / "basic_val.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="extract listops-1000"):
        build(config, tmp_path / "other", **options)


def test_the_ladder_climbs_from_majority_over_the_root_to_depth_one():
    rows = listops.baseline_accuracies(
        as_split(list(listops.generate(3000, seed=0, **SHORT))),
        as_split(list(listops.generate(1500, seed=1, **SHORT))),
    )
    assert list(rows) == ["majority", "root_operator", "depth_one"]
    # 0.15, 0.33, 0.65 on 20000; five standard errors of 1500 samples are 0.06
    assert rows["majority"] < rows["root_operator"] - 0.06 < rows["depth_one"] - 0.2


def test_the_ladder_is_what_is_counted_by_hand():
    def split(*pairs):
        return as_split([(text.split(), label) for text, label in pairs])

    train = split(
        ("[MAX 8 9 ]", 9), ("[MAX 1 9 ]", 9), ("[MAX 7 8 ]", 8), ("[MIN 4 5 ]", 4), ("[MIN 4 8 ]", 4)
    )
    test = split(
        ("[MAX 3 9 ]", 9), ("[MAX 3 8 ]", 8), ("[MIN 4 6 ]", 4), ("[SM 4 6 ]", 0), ("[MED 1 2 6 ]", 2)
    )
    # Most frequent overall, so given SM and MED: 4 (the smaller of a tie with 9). Given MAX: 9, given MIN: 4.
    assert listops.baseline_accuracies(train, test) == {
        "majority": 0.2,
        "root_operator": 0.4,
        "depth_one": 1.0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "[MIN 5 [MAX ] [SM ] ]",
        "[MAX 2 [MIN ] [MED ] ]",
        "[SM 8 7 [MIN ] [MAX ] ]",
        "[MED 4 [MAX ] [SM ] ]",
        "[SM 1 2 ]",
    ],
)
def test_depth_one_is_the_mode_over_all_values_of_the_sub_expressions(text):
    """Enumerate every value of the sub-expressions with its probability; an empty list marks a sub-expression."""
    values = np.random.default_rng(0).dirichlet(np.ones(10), len(listops.VOCABULARY))
    tokens = text.split()
    open_lists = [ID[token] for token in tokens[1:] if token in OPERATORS]
    digits = [token for token in tokens[1:] if token.isdigit()]
    probability = np.zeros(10)
    for choice in itertools.product(range(10), repeat=len(open_lists)):
        weight = np.prod([values[operator, v] for operator, v in zip(open_lists, choice, strict=True)])
        probability[listops.evaluate([tokens[0], *digits, *map(str, choice), "]"])] += weight
    top = read_top(listops.encode(tokens)[None])
    assert depth_one(top, values)[0] == probability.argmax()


def test_the_first_level_is_read_and_nothing_below_it():
    text = "[MAX 2 [SM 9 [MIN 8 8 ] ] 2 [MIN 1 1 ] 0 ]"
    top = read_top(listops.encode(text.split())[None])
    np.testing.assert_array_equal(top.digits[0], [1, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(top.operators[0], [1, 0, 0, 1])
    assert top.root[0] == ID["[MAX"]


def test_an_unseen_root_falls_back_on_the_overall_frequencies():
    frequencies = label_frequencies(as_split([(("[MAX", "1", "3", "]"), 3), (("[MAX", "1", "1", "]"), 1)]))
    np.testing.assert_allclose(frequencies[ID["[MIN"]], [0, 0.5, 0, 0.5, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(frequencies.sum(1), 1)


def test_the_old_name_of_the_baselines_serves_with_a_warning():
    with pytest.warns(DeprecationWarning, match="is now listops.baseline_accuracies"):
        assert listops.ladder is listops.baseline_accuracies
    with pytest.raises(AttributeError, match="has no attribute 'ladders'"):
        listops.ladders  # noqa: B018  the access is the test
