"""Rows keep the order of their source, stream through shards, and a kill or a wrong count leaves no data set."""

import numpy as np
import pytest

from experiments.data import arrays
from experiments.data.preparation import row_builder
from experiments.data.preparation.row_builder import VOCABULARIES, Row, RowConfig, RowSource, to_tokens
from experiments.data.preparation.shuffling import shuffled_order
from experiments.data.preparation.split_sizes import split_sizes
from tests.experiments.data.readers.miniatures import texts


def rows(count):
    for i in range(count):
        yield Row(i % 3, np.arange(i % 5 + 1, dtype=np.uint8) + np.uint8(i))


def prepare(folder, count=10, *, read=None, name="toy", **options):
    sources = {"train": RowSource(count, read or (lambda: rows(count)))}
    config = RowConfig(name=name, classes=3, **options)
    return arrays.prepare_rows(config, sources, title="Toy", max_len=6, data_dir=folder)


@pytest.mark.parametrize("shard", [1, 3, 5, 10, 100])
def test_rows_keep_the_order_of_their_source_for_every_size_of_a_shard(tmp_path, monkeypatch, shard):
    monkeypatch.setattr(row_builder, "ROWS_PER_SHARD", shard)
    split = prepare(tmp_path)["train"]
    assert texts(split) == [row.tokens.tobytes() for row in rows(10)]
    assert split.labels.tolist() == [row.label for row in rows(10)]
    assert len(list((tmp_path / "byte_rows").rglob("*.array_record-*"))) == -(-10 // shard)


def test_all_values_of_a_byte_are_stored_and_become_ids_above_the_padding(tmp_path):
    row = Row(0, np.arange(256, dtype=np.uint8))
    source = {"train": RowSource(1, lambda: [row])}
    split = arrays.prepare_rows(RowConfig(name="toy"), source, title="Toy", max_len=300, data_dir=tmp_path)[
        "train"
    ]
    inputs = arrays.model_inputs(np.asarray(split.tokens), split.lengths, split.first_id)
    ids = np.asarray(inputs[0])[0]
    assert ids.tolist() == [*range(1, 257), *[0] * 44]
    assert [split.vocabulary[i] for i in (0, ids[0], ids[32], ids[65])] == ["pad", "0x00", "0x20", "A"]


@pytest.mark.parametrize("unit", VOCABULARIES)
def test_a_vocabulary_names_every_value_once(unit):
    symbols = VOCABULARIES[unit]
    assert len(set(symbols)) == 257
    assert symbols[0] == "pad"
    assert symbols[1 + 65] == ("A" if unit == "byte" else "65")


def test_one_shard_is_in_memory_and_prepared_rows_are_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(row_builder, "ROWS_PER_SHARD", 2)
    shards = []  # files that are written when a row is read

    def watched():
        for row in rows(10):
            shards.append(len(list((tmp_path / "byte_rows").rglob("*.array_record-*"))))
            yield row

    prepare(tmp_path, read=watched)
    assert shards == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    prepare(tmp_path, read=watched)
    assert len(shards) == 10


@pytest.mark.parametrize("count", [9, 11])
def test_a_source_with_another_number_of_rows_is_refused(tmp_path, monkeypatch, count):
    monkeypatch.setattr(row_builder, "ROWS_PER_SHARD", 5)  # the tenth row is the last of its shard
    with pytest.raises(ValueError, match=f"train of Toy needs 10 rows, got {count} from its source"):
        prepare(tmp_path, read=lambda: rows(count))
    assert not [path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_killed_preparation_starts_again_and_gives_the_same_rows(tmp_path):
    def short_lived():
        yield from rows(7)
        raise Killed

    with pytest.raises(Killed):
        prepare(tmp_path, read=short_lived)
    assert texts(prepare(tmp_path)["train"]) == texts(prepare(tmp_path / "whole")["train"])
    assert not list(tmp_path.rglob("incomplete.*"))


def test_a_row_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most max_len=6 tokens, got uint8 of length 7"):
        prepare(tmp_path, 1, read=lambda: [Row(0, np.zeros(7, np.uint8))])


def test_other_options_under_the_same_name_are_refused(tmp_path):
    prepare(tmp_path, options={"seed": 0})
    with pytest.raises(ValueError, match="choose another data_dir, or delete the folder"):
        prepare(tmp_path, options={"seed": 1})


def test_a_text_becomes_its_bytes_and_an_empty_one_a_space():
    assert to_tokens("h\u00e9".encode(), 9).tolist() == [104, 195, 169]
    assert to_tokens(b"hello", 2).tobytes() == b"he"
    assert to_tokens(b"", 9).tobytes() == b" "


def test_an_order_is_a_permutation_that_depends_on_the_seed():
    assert sorted(shuffled_order(20, 0)) == list(range(20))
    np.testing.assert_array_equal(shuffled_order(20, 0), shuffled_order(20, 0))
    assert (shuffled_order(20, 0) != shuffled_order(20, 1)).any()
    assert (
        shuffled_order(8, 0).tolist() == np.random.Generator(np.random.Philox(key=0)).permutation(8).tolist()
    )


def test_sizes_default_to_all_rows():
    largest = {"train": 5, "val": 2}
    assert split_sizes(largest, {"train": None, "val": 1}, "Toy") == {"train": 5, "val": 1}
    with pytest.raises(ValueError, match="val of Toy has 2 rows, got val=3; take 1 to 2"):
        split_sizes(largest, {"train": 5, "val": 3}, "Toy")
