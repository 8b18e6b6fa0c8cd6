"""Prepared arrays: round trip, kill, damage, two processes. Batches: hosts, epochs, resume, evaluation."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import arrays
from experiments.data.arrays import store

LENGTHS = (3, 1, 5, 4, 2, 5, 1)


class Toy(tfds.core.GeneratorBasedBuilder):
    """Example i of a split is LENGTHS[i] times the byte 255 - i, with label i % 2."""

    VERSION = tfds.core.Version("1.2.3")
    code_path = None
    dtype = np.uint8

    def _info(self):
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=self.dtype),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=["<pad>", "a"]),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(7), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"tokens": np.full(LENGTHS[i], 255 - i, self.dtype), "label": i % 2}


class WideToy(Toy):
    """Ids of a type that no data set has."""

    dtype = np.int64


class Pairs(Toy):
    """Pairs of sequences of bytes: example i has LENGTHS[i] and LENGTHS[-1 - i] of them."""

    def _info(self):
        sequence = tfds.features.Tensor(shape=(None,), dtype=np.uint8)
        features = {"tokens": sequence, "second": sequence, "label": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=["<pad>", "a"], first_id=1),
        )

    def _generate_examples(self, count):
        for i in range(count):
            first, second = (np.full(LENGTHS[j], 2 * i + (j < 0), np.uint8) for j in (i, -1 - i))
            yield i, {"tokens": first, "second": second, "label": i % 2}


class TokenLabels(Toy):
    """A label for every second token."""

    def _info(self):
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            "labels": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=["<pad>", "a"], classes=3),
        )

    def _generate_examples(self, count):
        for i in range(count):
            labels = np.where(np.arange(LENGTHS[i]) % 2 == 0, i % 3, -1).astype(np.int32)
            yield i, {"tokens": np.full(LENGTHS[i], i, np.uint8), "labels": labels}


def toy(folder, builder=Toy):
    return builder(data_dir=folder, file_format="array_record")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, arrays.prepare(toy(folder), max_len=6, data_dir=folder)


def arrays_folder(folder):
    (subfolder,) = [path for path in (folder / "arrays").iterdir() if path.is_dir()]
    return subfolder


def numbered(size, max_len=4):
    """A split whose example i consists of tokens i and has label i."""
    numbers = np.arange(size)
    tokens = np.repeat(numbers[:, None], max_len, 1).astype(np.uint8)
    lengths = (1 + numbers % max_len).astype(np.int32)
    return arrays.Split(tokens, lengths, numbers.astype(np.int32), ("<pad>",), size)


def test_every_example_of_the_builder_comes_back_padded_with_zeros(prepared):
    _, splits = prepared
    assert list(splits) == ["train", "test"]
    train = splits["train"]
    assert train.tokens.shape == (7, 6)
    assert (train.tokens.dtype, train.lengths.dtype, train.labels.dtype) == (np.uint8, np.int32, np.int32)
    assert (train.vocabulary, train.classes) == (("<pad>", "a"), 2)
    order = 255 - train.tokens[:, 0]  # TFDS shuffles as it writes
    assert sorted(order) == list(range(7))
    for row, i in enumerate(order):
        np.testing.assert_array_equal(train.tokens[row], [255 - i] * LENGTHS[i] + [0] * (6 - LENGTHS[i]))
        assert (train.lengths[row], train.labels[row]) == (LENGTHS[i], i % 2)


def test_pairs_of_sequences_come_back_with_both_lengths(tmp_path):
    train = arrays.prepare(toy(tmp_path, Pairs), max_len=6, data_dir=tmp_path)["train"]
    assert (train.tokens.shape, train.lengths.shape, train.first_id) == ((7, 2, 6), (7, 2), 1)
    for row in range(7):
        i = int(train.tokens[row, 0, 0]) // 2
        assert train.lengths[row].tolist() == [LENGTHS[i], LENGTHS[-1 - i]]
        for column, n in enumerate(train.lengths[row]):
            assert train.tokens[row, column].tolist() == [2 * i + column] * n + [0] * (6 - n)
        assert train.labels[row] == i % 2


def test_labels_of_tokens_come_back_with_none_on_padding(tmp_path):
    train = arrays.prepare(toy(tmp_path, TokenLabels), max_len=6, data_dir=tmp_path)["train"]
    assert (train.labels.shape, train.classes, train.first_id) == ((7, 6), 3, 0)
    for row in range(7):
        i, n = int(train.tokens[row, 0]), train.lengths[row]
        assert n == LENGTHS[i]
        assert train.labels[row].tolist() == [i % 3 if t < n and t % 2 == 0 else -1 for t in range(6)]


def test_tokens_are_mapped_from_disk_and_read_only(prepared):
    _, splits = prepared
    assert isinstance(splits["train"].tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        splits["train"].tokens[0, 0] = 1


def test_a_second_start_reuses_the_folder_even_without_the_source(prepared, monkeypatch):
    folder, splits = prepared
    monkeypatch.setattr(Toy, "_split_generators", None)
    monkeypatch.setattr(store, "write", None)
    again = arrays.prepare(toy(folder / "elsewhere"), max_len=6, data_dir=folder, verify=True)
    np.testing.assert_array_equal(again["train"].tokens, splits["train"].tokens)


def test_the_manifest_tells_source_version_vocabulary_shapes_and_hashes(prepared):
    manifest = json.loads((arrays_folder(prepared[0]) / "manifest.json").read_text())
    assert (manifest["source"], manifest["generator_version"], manifest["max_len"]) == ("toy", "1.2.3", 6)
    assert manifest["vocabulary"] == ["<pad>", "a"]
    assert manifest["files"]["train.x.npy"]["shape"] == [7, 6]
    assert {len(facts["sha256"]) for facts in manifest["files"].values()} == {64}
    assert len(manifest["files"]) == 6


def test_a_killed_preparation_leaves_nothing_and_the_next_start_completes_it(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "force_to_disk", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    (partial,) = (tmp_path / "arrays").glob("*.partial")
    (partial / "train.x.npy").write_bytes(b"cut off")
    (partial / "stray.npy").write_bytes(b"of an older version")
    splits = arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path, verify=True)
    assert len(splits["train"].labels) == 7
    assert not any((tmp_path / "arrays").glob("*.partial"))
    assert not (arrays_folder(tmp_path) / "stray.npy").exists()


def test_two_processes_that_prepare_at_once_get_the_same_whole_set(tmp_path):
    program = f"""
from tests.experiments.data.test_arrays import arrays, toy
splits = arrays.prepare(toy({str(tmp_path)!r}), max_len=6, data_dir={str(tmp_path)!r}, verify=True)
print(splits["train"].tokens.tobytes().hex())
"""
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert results[0] == results[1] != ""
    assert not any((tmp_path / "arrays").glob("*.partial"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def alter(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def reshape(path):
    np.save(path, np.load(path).reshape(6, 7))


def drop_files(path):
    manifest = json.loads(path.read_text())
    del manifest["files"]["test.y.npy"]["sha256"]
    path.write_text(json.dumps(manifest))


def scramble(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("train.x.npy", truncate, "has 169 bytes, not 170"),
        ("test.y.npy", lambda path: path.unlink(), "has 0 bytes"),
        ("train.x.npy", alter, "has SHA-256"),
        ("manifest.json", truncate, "cannot be read"),
        ("manifest.json", lambda path: path.unlink(), "cannot be read"),
        ("manifest.json", lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
        ("manifest.json", lambda path: path.write_text("[]"), "is no object"),
        ("manifest.json", drop_files, "does not describe all its files"),
    ],
)
def test_damage_is_refused_with_the_file_and_the_remedy(tmp_path, name, damage, words):
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    path = arrays_folder(tmp_path) / name
    if name == "manifest.json" and damage is truncate:
        path.write_text(path.read_text().rstrip())
    damage(path)
    with pytest.raises(ValueError, match="delete its folder to prepare them again") as error:
        arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path, verify=damage is alter)
    assert words in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("damage", "words"), [(reshape, "(6, 7), not uint8 [7, 6]"), (scramble, "not an array")]
)
def test_a_file_of_the_right_size_and_the_wrong_content_is_refused_on_every_start(tmp_path, damage, words):
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    damage(arrays_folder(tmp_path) / "train.x.npy")
    with pytest.raises(ValueError, match="as their manifest says") as error:
        arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    assert words in str(error.value)


def test_arrays_of_another_configuration_are_refused_and_stay(tmp_path):
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    path = arrays_folder(tmp_path) / "manifest.json"
    manifest = path.read_text().replace('"a"', '"b"')
    path.write_text(manifest)
    with pytest.raises(ValueError, match="must be those asked for.*'a'.*'b'.*choose another data_dir"):
        arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    assert path.read_text() == manifest


@pytest.mark.parametrize(
    ("builder", "max_len", "words"), [(Toy, 4, "of length 5"), (WideToy, 6, "got int64")]
)
def test_examples_that_do_not_fit_are_refused(tmp_path, builder, max_len, words):
    with pytest.raises(ValueError, match="raise max_len or have the builder cut") as error:
        arrays.prepare(toy(tmp_path, builder), max_len=max_len, data_dir=tmp_path)
    assert words in str(error.value)
    assert not list((tmp_path / "arrays").glob("*/manifest.json"))


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
def test_the_parts_of_the_hosts_joined_are_the_batch_of_one_host(hosts):
    for step in (0, 5, 6, 40):
        parts = [
            arrays.batch_indices(50, 8, seed=3, step=step, rows=rows)
            for rows in np.split(np.arange(8), hosts)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), arrays.batch_indices(50, 8, seed=3, step=step))


def test_hosts_that_hold_the_same_rows_prepare_the_same_examples():
    full = arrays.batch_indices(50, 8, seed=3, step=7)
    for rows in ([0, 1, 4, 5], [2, 3, 4, 5], [7]):
        part = arrays.batch_indices(50, 8, seed=3, step=7, rows=np.array(rows))
        np.testing.assert_array_equal(part, full[rows])


def test_an_epoch_is_the_philox_permutation_cut_into_batches():
    for epoch in range(2):
        steps = range(6 * epoch, 6 * epoch + 6)
        rows = np.concatenate([arrays.batch_indices(50, 8, seed=3, step=step) for step in steps])
        philox = np.random.Philox(key=np.array([3, epoch], np.uint64))
        np.testing.assert_array_equal(rows, np.random.Generator(philox).permutation(50)[:48])


def test_the_order_of_a_seed_never_changes():
    """The order is a constant, because a NumPy with another permutation would silently break every resumed run."""
    assert arrays.batch_indices(10, 10, seed=0, step=0).tolist() == [0, 7, 8, 6, 9, 5, 1, 3, 2, 4]


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second, other = (
        tuple(arrays.batch_indices(50, 50, seed=seed, step=step)) for seed, step in ((0, 0), (0, 1), (1, 0))
    )
    assert len({first, second, other}) == 3


def test_a_batch_depends_on_its_step_and_on_nothing_before():
    split = numbered(20)
    straight = [arrays.batch(split, 4, seed=1, step=step) for step in range(12)]
    resumed = arrays.batch(split, 4, seed=1, step=11)
    for left, right in zip(straight[11], resumed, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_batch_holds_its_rows_and_their_lengths():
    split = numbered(20)
    rows = arrays.batch_indices(20, 4, seed=1, step=2, rows=np.array([2, 3]))
    result = arrays.batch(split, 4, seed=1, step=2, rows=np.array([2, 3]))
    np.testing.assert_array_equal(result.labels, rows)
    np.testing.assert_array_equal(result.tokens[:, 0], rows)
    np.testing.assert_array_equal(result.lengths, 1 + rows % 4)
    np.testing.assert_array_equal(result.weights, [1, 1])
    assert [field.dtype for field in result] == [np.uint8, np.int32, np.int32, np.float32]


@pytest.mark.parametrize("size", [1, 8, 10, 15, 17])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_evaluation_sees_every_example_once_in_batches_of_one_shape_on_every_host(size, hosts):
    split = numbered(size)
    parts = [list(arrays.evaluation_batches(split, 8, rows=rows)) for rows in np.split(np.arange(8), hosts)]
    assert {len(part) for part in parts} == {-(-size // 8)}
    assert {batch.tokens.shape for part in parts for batch in part} == {(8 // hosts, 4)}
    steps = [[field for field in zip(*step, strict=True)] for step in zip(*parts, strict=True)]
    labels = np.concatenate([np.concatenate(step[2]) for step in steps])
    weights = np.concatenate([np.concatenate(step[3]) for step in steps])
    assert labels[weights == 1].tolist() == list(range(size))
    assert set(labels[weights == 0]) <= {size - 1}
    assert all((batch.lengths > 0).all() for part in parts for batch in part)  # no row is empty


@pytest.mark.parametrize("first_id", [0, 1])
def test_model_inputs_are_the_ids_of_the_tokens_and_nothing_on_padding(first_id):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, (3, 2, 5), dtype=np.uint8)
    lengths = np.array([[0, 5], [1, 4], [3, 2]], np.int32)
    inputs = arrays.model_inputs(tokens, lengths, first_id)
    for index in np.ndindex(3, 2):
        n = lengths[index]
        assert inputs.ids[index].tolist() == [int(v) + first_id for v in tokens[index][:n]] + [0] * (5 - n)
        assert inputs.segment_ids[index].tolist() == [1] * n + [0] * (5 - n)


def test_grain_serves_the_same_batches():
    split = numbered(20)
    data = arrays.grain_batches(split, 4, seed=1, steps=7)
    assert len(data) == 7
    for step, rows in enumerate(data):
        np.testing.assert_array_equal(rows.labels, arrays.batch(split, 4, seed=1, step=step).labels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 7}, "batch_size=8, examples=7"),
        ({"step": -1}, "step=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"rows": np.array([3, 8])}, "0 … 7, got 3 … 8"),
        ({"rows": np.array([-1, 2])}, "0 … 7, got -1 … 2"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(ValueError, match="raise it|lower the batch size|host_rows") as error:
        arrays.batch_indices(**{"size": 50, "batch_size": 8, "seed": 0, "step": 0, **arguments})
    assert words in str(error.value)
    if "rows" in arguments:
        with pytest.raises(ValueError, match="rows lie in the global batch"):
            arrays.evaluation_batches(numbered(9), 8, rows=arguments["rows"])


def test_configurations_are_kept_apart_by_folder(tmp_path):
    for max_len in (5, 6):
        arrays.prepare(toy(tmp_path), max_len=max_len, data_dir=tmp_path)
    assert len([path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]) == 2
