"""Estimates in files: round trips are exact, earlier formats are read, damaged and foreign files are refused."""

import csv
import json
import sys
from io import BytesIO
from typing import Any

import jax
import numpy as np
import pytest

import pid
from pid.estimators import io
from pid.estimators.results import FIELDS, Resampling, pid_to_array

CI = pid.Bootstrap(4, kind="paired")


@pytest.fixture(scope="module")
def layers():
    samples = np.random.default_rng(0).normal(size=(3, 2, 40, 2))
    return pid.layerwise(*samples, key=jax.random.key(7), ci=CI, null=pid.Shuffle(2))


@pytest.fixture(scope="module")
def single():
    samples = np.random.default_rng(0).normal(size=(3, 40, 2))
    return pid.estimate(*samples, key=jax.random.key(7), ci=None, null=None)


@pytest.fixture
def estimates(layers, single):
    infinite = single._replace(pid=single.pid._replace(mi_joint=np.float64(np.inf)))
    return {
        "layers": layers,
        "one": single,
        "infinite": infinite,
        "no draws": layers._replace(draws=None, ci=None),
    }


@pytest.mark.parametrize("name", ["layers", "one", "infinite", "no draws"])
def test_a_round_trip_is_exact(estimates, tmp_path, name):
    path = tmp_path / "new folder" / "estimate.npz"
    pid.save_estimate(path, estimates[name])
    restored = pid.load_estimate(str(path))
    assert jax.tree.structure(restored) == jax.tree.structure(estimates[name])
    jax.tree.map(np.testing.assert_array_equal, restored, estimates[name])
    assert restored[4:7] == estimates[name][4:7]
    assert restored.resampling == estimates[name].resampling
    assert restored.choices == estimates[name].choices
    assert dict(restored.choices)["measure"] == "'broja'"
    assert [path.name for path in path.parent.iterdir()] == ["estimate.npz"]


def test_what_a_kill_has_left_of_a_write_is_deleted_by_the_next_one(single, tmp_path):
    path = tmp_path / "a[0].npz"
    for name in ("a[0].npz.17.part", "a[0].npz.17", "b.npz.17.part"):
        (tmp_path / name).write_bytes(b"half")
    pid.save_estimate(path, single)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a[0].npz", "a[0].npz.17", "b.npz.17.part"]
    assert pid.load_estimate(path) == single


def test_comparisons_of_restored_estimates_are_those_of_the_originals(layers, tmp_path):
    pid.save_estimate(tmp_path / "a", layers)
    restored = pid.load_estimate(tmp_path / "a")
    jax.tree.map(np.testing.assert_array_equal, pid.compare(layers, restored), pid.compare(layers, layers))


def test_a_file_of_the_first_format_is_read(layers, tmp_path):
    about = {
        "flags": ["layer 0: a"],
        "n": 40,
        "dims": [[2, 2, 2]] * 2,
        "resampling": ["paired", 4, 0.9, [0, 7]],
    }
    values = pid_to_array(layers.pid)
    np.savez(
        tmp_path / "old.npz",
        about=np.array(json.dumps(about)),
        pid=values,
        plugin=values + 1,
        draws=values[None].repeat(4, 0),
        ci=np.stack([values] * 2),
    )
    restored = pid.load_estimate(tmp_path / "old.npz")
    assert restored.resampling == Resampling("paired", 4, 0.9, (0, 7))
    assert restored.flags == ("layer 0: a",)
    assert restored.dims == ((2, 2, 2), (2, 2, 2))
    assert restored.ci is not None
    np.testing.assert_array_equal(pid_to_array(restored.ci.high), values)
    assert restored.null is None
    assert restored.choices == ()
    assert restored.layer_names is None


def _archive(path, **change: Any):
    with np.load(path) as archive:
        arrays: dict[str, Any] = dict(archive) | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "a bit flipped": lambda path: path.write_bytes(
        path.read_bytes().replace("flags".encode("utf-32-le"), "flogs".encode("utf-32-le"))
    ),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("redundancy 0.5"),
    "one array": lambda path: path.write_bytes(_npy(np.ones(8))),
    "pickled": lambda path: path.write_bytes(_npy(np.array([{}]))),
    "other arrays": lambda path: np.savez(path.with_suffix(".npz"), x=np.ones(3)),
    "no plug-in": lambda path: _archive(path, plugin=None),
    "no JSON": lambda path: _archive(path, about=np.array("{")),
    "other JSON": lambda path: _archive(path, about=np.array("[1]")),
    "a PID of seven fields": lambda path: _archive(path, pid=np.ones((2, 7))),
    "an interval of other layers": lambda path: _archive(path, ci=np.ones((2, 3, 8))),
    "draws without layers": lambda path: _archive(path, draws=np.ones((4, 8))),
}


def _npy(array):
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused(layers, tmp_path, damage):
    path = tmp_path / "estimate.npz"
    pid.save_estimate(path, layers)
    DAMAGE[damage](path)
    with pytest.raises(ValueError, match=r"written by save_estimate, got .*estimate\.npz .*estimate again"):
        pid.load_estimate(path)


def test_a_missing_file_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        pid.load_estimate(tmp_path / "none.npz")


def test_tables_hold_the_records(layers, tmp_path):
    records = io.write_tables(layers, tmp_path)
    assert records == layers.to_records()
    assert [record["layer"] for record in records] == [0, 1]
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["synergy"]) == layers.pid.synergy[1]
    assert list(rows[0])[:5] == ["layer", "n", "dim_target", "dim_x", "dim_y"]
    rounded = json.loads((tmp_path / "table.json").read_text())
    for field in FIELDS:
        assert rounded[0][f"{field}_low"] == pytest.approx(records[0][f"{field}_low"], rel=1e-5)
    assert rounded[1]["flags"] == records[1]["flags"]


def test_records_are_columns_of_plain_values(layers, single):
    for estimate in (layers, single):
        records = estimate.to_records()
        columns = {name: [record[name] for record in records] for name in records[0]}
        assert all(record.keys() == columns.keys() for record in records)
        assert {type(value) for column in columns.values() for value in column} <= {
            int,
            float,
            str,
            type(None),
        }
        np.testing.assert_array_equal(columns["synergy"], np.atleast_1d(estimate.pid.synergy))


def test_a_frame_needs_pandas(single, monkeypatch):
    class FakePandas:
        DataFrame = list

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas, .*; pip install pandas, or use to_records\(\)"):
        single.to_frame()
    monkeypatch.setitem(sys.modules, "pandas", FakePandas)
    assert single.to_frame() == single.to_records()


def test_tables_write_infinite_and_missing_numbers_as_null(estimates, tmp_path):
    io.write_tables(estimates["infinite"], tmp_path)
    (record,) = json.loads((tmp_path / "table.json").read_text())
    assert record["mi_joint"] is None
    assert record["mi_joint_low"] is None
    assert record["n"] == 40
