"""A store without a model: rows are read in order, and damage is detected."""

import json
import re

import numpy as np
import pytest
from safetensors import safe_open

from pid import llava
from pid.llava.activations import activation_store as store_file
from pid.llava.activations.activation_store import NORMALIZED, array_name
from pid.llava.activations.shard_writer import ShardWriter, config_hash

CONFIG = {
    "model": {"text": {"layers": 2, "width": 3}},
    "conditions": {"baseline": [], "cut": [{"layers": [0], "target": 3, "source": 2}]},
    "states": ["baseline", "cut"],
    "groups": [2, 4],
}


def arrays(places):
    """Arrays whose values encode condition, group, layer and row."""
    arrays_by_name = {}
    index, layer = np.array(places, np.float32), np.arange(3, dtype=np.float32)
    for number, condition in enumerate(CONFIG["conditions"]):
        for kind, scale in (("residual", 1), (NORMALIZED, -1)):
            for group in CONFIG["groups"]:
                values = 1000 * number + 100 * group + 10 * layer[:, None] + index[None]
                arrays_by_name[array_name(kind, condition, group)] = scale * np.repeat(
                    values[..., None], 3, axis=2
                )
        arrays_by_name[array_name("greedy", condition)] = (10 * number + index).astype(np.int32)
        arrays_by_name[array_name("probability", condition)] = (index + 1) / (number + 1)
        arrays_by_name[array_name("logits", condition)] = np.stack([index, index + number], axis=1)
    return arrays_by_name


def save(writer, *places):
    writer.save(places, [f"row {place}" for place in places], arrays(places))


@pytest.fixture
def folder(tmp_path):
    """A store of five rows with its shards out of order."""
    writer = ShardWriter(tmp_path / "store", CONFIG)
    save(writer, 4, 1)
    save(writer, 0, 3)
    save(writer, 2)
    return tmp_path / "store"


def shards(folder):
    return [json.loads(line) for line in (folder / "manifest-0000.jsonl").read_text().splitlines()]


def test_rows_come_in_the_order_of_the_samples(folder):
    store = llava.Store.open(folder, verify=True)
    assert store.names == tuple(f"row {place}" for place in range(5))
    assert (store.conditions, store.groups, store.baseline) == (("baseline", "cut"), (2, 4), "baseline")
    states = store.states("cut", 4)
    assert states.shape == np.asarray(states).shape == (3, 5, 3)
    assert len(states) == len(list(states)) == 3
    np.testing.assert_array_equal(states[-1][:, 0], 1420 + np.arange(5))
    np.testing.assert_array_equal(
        np.asarray(store.states("baseline", 2, normalized=True))[1, :, 2], -210 - np.arange(5)
    )
    np.testing.assert_array_equal(store.greedy("cut"), 10 + np.arange(5))
    np.testing.assert_array_equal(store.p_base, 1 + np.arange(5))
    np.testing.assert_array_equal(store.change("cut"), -50)
    np.testing.assert_array_equal(store.logits("cut")[:, 1], 1 + np.arange(5))


def test_what_was_not_captured_is_named(folder):
    store = llava.Store.open(folder)
    with pytest.raises(KeyError, match=re.escape("has states of ['baseline', 'cut'], got 'other'")):
        store.states("other", 2)
    with pytest.raises(KeyError, match=re.escape("has the groups (2, 4), got 3")):
        store.states("cut", 3)
    with pytest.raises(KeyError, match=re.escape("has the conditions ('baseline', 'cut'), got 'other'")):
        store.p_new("other")
    with pytest.raises(IndexError, match=re.escape("have 3 layers, 0 … 2, got 3")):
        store.states("cut", 2)[3]


INDICES = (
    *(slice(1, 3), slice(None, None, -1), slice(5, 9), [0, 2], np.array([0, 2]), np.array([[2, 0]]), [], -1),
    *(np.int64(1), np.array(2), np.array([True, False, True]), [False, True, True], ..., None, (1, slice(2))),
    *(
        (slice(0, 2), 3),
        (-1, ..., 0),
        ([2, 0], 1, 2),
        ([0, 1], [3, 4]),
        (None, 1),
        (),
        np.ones((3, 5, 3), bool),
    ),
)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_states_are_indexed_as_an_array(index, folder):
    states = llava.Store.open(folder).states("cut", 4)
    ours, theirs = states[index], np.asarray(states)[index]
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("index", [3, -4, [0, 3], np.array([True, False]), 1.5, "baseline", [0.5]], ids=repr)
def test_layers_that_are_none_are_refused(index, folder):
    with pytest.raises(IndexError, match=re.escape("states have 3 layers, 0 … 2, got")):
        llava.Store.open(folder).states("cut", 4)[index]


def test_one_layer_is_read_without_the_others(folder, monkeypatch):
    store, reads = llava.Store.open(folder), []

    class RecordingShard:
        """A shard that supports only slices, and records them."""

        def __init__(self, path, framework):
            self._open = safe_open(path, framework=framework)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def get_slice(self, name):
            self._name = name
            return self

        def __getitem__(self, layer):
            reads.append((self._name, layer))
            return self._open.get_slice(self._name)[layer]

    monkeypatch.setattr(store_file, "safe_open", RecordingShard)
    np.testing.assert_array_equal(store.states("cut", 2)[1][:, 0], 1210 + np.arange(5))
    assert reads == [("residual/cut/2", 1)] * 3


def test_what_a_kill_leaves_is_cleared_away_and_intact_shards_stay(folder):
    manifest = folder / "manifest-0000.jsonl"
    before = manifest.read_bytes()
    manifest.write_bytes(before + b'{"file": "shard')
    (folder / "shard-1.safetensors.0.part").write_bytes(b"half")
    other = folder / "shard-2.safetensors.1.part"
    other.write_bytes(b"of another process")
    assert llava.Store.open(folder).names[0] == "row 0"  # a line without a line end is skipped
    assert ShardWriter(folder, CONFIG, index=0, count=2).stored == {
        f"row {place}": place for place in range(5)
    }
    assert manifest.read_bytes() == before
    assert sorted(path.name for path in folder.glob("*.part")) == [other.name]


@pytest.mark.parametrize("harm", ["cut", "flip", "lose"])
def test_damaged_shard_is_refused_and_its_rows_are_written_anew(folder, harm):
    path = folder / shards(folder)[0]["file"]
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes({"cut": whole[:-5], "flip": flipped, "lose": b""}[harm])
    if harm == "lose":
        path.unlink()
    words = (
        "has the sha256" if harm == "flip" else f"{len(whole) - 5 if harm == 'cut' else 0} bytes instead of"
    )
    with pytest.raises(ValueError, match=words):
        llava.Store.open(folder, verify=True)
    writer = ShardWriter(folder, CONFIG)
    assert writer.stored == {"row 0": 0, "row 3": 3, "row 2": 2}
    save(writer, 4, 1)
    assert path.read_bytes() == whole
    assert len(llava.Store.open(folder, verify=True).names) == 5


def test_damage_behind_the_back_of_an_open_store_is_named(folder):
    store = llava.Store.open(folder)
    path = folder / shards(folder)[1]["file"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a shard must be whole, got .* of 100 bytes"):
        store.greedy("cut")


def test_another_configuration_is_refused_by_name_and_another_order_of_conditions_is_not(folder):
    reordered = dict(reversed(CONFIG["conditions"].items()))
    assert len(ShardWriter(folder, CONFIG | {"conditions": reordered}).stored) == 5
    changed = CONFIG | {"groups": [2], "conditions": {"baseline": []}, "options": [3]}
    words = (
        "conditions.cut: stored [{'layers': [0], 'target': 3, 'source': 2}], now 'nothing'; "
        "groups: stored [2, 4], now [2]; options: stored 'nothing', now [3]; use the stored values"
    )
    with pytest.raises(ValueError, match=re.escape(words)):
        ShardWriter(folder, changed)


def test_shard_of_another_configuration_and_rows_stored_twice_are_refused(folder):
    manifest = folder / "manifest-0000.jsonl"
    before = manifest.read_text()
    manifest.write_text(before.replace(config_hash(CONFIG), "0" * 64))
    with pytest.raises(ValueError, match="all shards of a store have its configuration, got another for"):
        llava.Store.open(folder)
    manifest.write_text(before)
    writer = ShardWriter(folder, CONFIG, index=1, count=2)
    writer.save((7,), ("row 2",), arrays((7,)))
    with pytest.raises(ValueError, match="have names of their own, got 'row 2' twice"):
        llava.Store.open(folder)


@pytest.mark.parametrize("line", ["junk", "[]", '{"file": "a"}', "null"])
def test_a_line_of_a_manifest_that_is_no_shard_is_named(folder, line):
    manifest = folder / "manifest-0000.jsonl"
    manifest.write_text(f"{manifest.read_text()}{line}\n")
    for read in (llava.Store.open, lambda folder: ShardWriter(folder, CONFIG)):
        with pytest.raises(
            ValueError, match=r"manifest-0000\.jsonl must describe a shard, got line \d+ with"
        ):
            read(folder)


def test_manifests_of_more_processes_than_now_are_seen_to(tmp_path):
    for index in range(3):
        save(ShardWriter(tmp_path, CONFIG, index=index, count=3), index)
    file = json.loads((tmp_path / "manifest-0002.jsonl").read_text())["file"]
    (tmp_path / file).unlink()
    writer = ShardWriter(tmp_path, CONFIG)
    assert writer.stored == {"row 0": 0, "row 1": 1}
    save(writer, 2)
    assert llava.Store.open(tmp_path, verify=True).names == ("row 0", "row 1", "row 2")


def test_foreign_folders_and_empty_stores_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="a store has a config.json, found none in"):
        llava.Store.open(tmp_path)
    ShardWriter(tmp_path / "empty", CONFIG)
    with pytest.raises(ValueError, match="a store is read when it has rows, got none in"):
        llava.Store.open(tmp_path / "empty").greedy("cut")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="needs a folder of its own, got .* with empty"):
        ShardWriter(tmp_path, CONFIG)


DAMAGED_LINES = {
    "words": b"garbage\n",
    "empty": b"\n",
    "zeros": b"\0" * 50 + b"\n",
    "number": b"3\n",
    "no fields": b"{}\n",
    "later release": b'{"file": "a", "bytes": 1, "sha256": "", "config": "", "places": [], "names": [], "codec": 2}\n',
}


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_line_that_is_no_shard_is_refused_by_its_number(folder, line):
    """A power cut may leave zeros in the place of a line."""
    with (folder / "manifest-0000.jsonl").open("ab") as file:
        file.write(DAMAGED_LINES[line])
    for read in (lambda: llava.Store.open(folder), lambda: ShardWriter(folder, CONFIG)):
        with pytest.raises(ValueError, match="must describe a shard, got line 4 with .*; delete the line"):
            read()


def test_copies_of_a_manifest_and_other_temporary_files_are_left_alone(folder):
    for name in ("manifest-0000 (copy).jsonl", "manifest-old.jsonl", "notes.part", "a.b.part"):
        (folder / name).write_bytes((folder / "manifest-0000.jsonl").read_bytes())
    assert set(ShardWriter(folder, CONFIG).stored) == {f"row {place}" for place in range(5)}
    assert llava.Store.open(folder).names == tuple(f"row {place}" for place in range(5))
    assert (folder / "notes.part").is_file()


def test_array_that_is_not_stored_is_no_damage(folder):
    with pytest.raises(KeyError, match="by the names of array_name, got 'residual/none/4'"):
        llava.Store.open(folder).gather("residual/none/4")
