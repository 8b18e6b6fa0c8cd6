"""`python -m experiments.pid_gaussian --npz FILE`: your own activations, their records and tables, refusals."""

import csv
import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save_file

from experiments import pid_gaussian
from experiments.data.preparation.activation_files import read
from experiments.pid_gaussian.studies import own_activations
from experiments.pid_gaussian.systems import planted
from experiments.run import report, to_json
from pid import Bootstrap, Shuffle, estimate
from pid.estimators.io import group_flags
from pid.estimators.results import FIELDS
from pid.interface.flags import Flag
from tests.experiments.pid_gaussian.test_pid_gaussian import DRAWS, LAYERS, TINY, N

LIGHT: dict[str, Any] = {
    "debias": "wishart",
    "ci": Bootstrap(DRAWS),
    "null": Shuffle(2),
}
CONFIG_OF_REPORT = LIGHT | {"debias": "none"}


# Your own activations.


def arrays(*, layers=True):
    samples = planted.sample(planted.depths(LAYERS), N, 0)
    return {
        "target": samples.target,
        "x": samples.x if layers else samples.x[1],
        "y": samples.y if layers else samples.y[1],
    }


def test_layers_from_a_file_give_tables_and_figures(tmp_path, monkeypatch):
    monkeypatch.setitem(own_activations.CONFIGS, "recommended", lambda: LIGHT)
    np.savez(tmp_path / "mine.npz", other=np.zeros(3), **arrays())
    config = dataclasses.replace(TINY, npz=tmp_path / "mine.npz", out=tmp_path / "run")
    summary = pid_gaussian.main(config)
    (part,) = summary["parts"]
    with (tmp_path / "run" / "table.csv").open() as file:
        written = list(csv.DictReader(file))
    records = json.loads((tmp_path / "run" / "table.json").read_text())
    assert records == part["layers"]
    assert [row["layer"] for row in written] == list("01234")
    suffixes = ("", "_low", "_high", "_plugin", "_null_high")
    for row, record in zip(written, records, strict=True):
        assert float(row["mi_joint"]) == pytest.approx(record["mi_joint"], rel=1e-5)
        assert {f"{f}{suffix}" for f in FIELDS for suffix in suffixes} <= set(row)
    assert part["verdict"] == "sound"
    assert [record["verdict"] for record in records] == ["sound"] * LAYERS
    assert own_activations.report([part])[2] == report.Table(
        "Verdicts", ("verdict", "count", "layers"), [("sound", "5", "0-4")]
    )
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {
        "stack.png",
        "shares.png",
        "trajectories.png",
    }
    assert summary["study"] == "activations"


def test_one_layer_is_a_bar_and_half_precision_is_read(tmp_path, monkeypatch):
    rounded = {name: jnp.asarray(a, jnp.bfloat16) for name, a in arrays(layers=False).items()}
    save_file({**rounded, "x": rounded["x"][None]}, tmp_path / "mine.safetensors")
    options = {"reduce": None, "gaussianize": "none", "ci": None, "null": None}
    monkeypatch.setitem(own_activations.CONFIGS, "recommended", lambda: options)
    config = dataclasses.replace(TINY, npz=tmp_path / "mine.safetensors", out=tmp_path / "run")
    (part,) = pid_gaussian.main(config)["parts"]
    (record,) = part["layers"]
    assert record["mi_x"] > 0
    assert record["mi_x_low"] is None
    assert [path.name for path in (tmp_path / "run").glob("*.png")] == ["bars.png"]


def test_the_report_of_one_estimate_is_printed_with_its_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(own_activations.CONFIGS, "recommended", lambda: CONFIG_OF_REPORT)
    samples = np.random.default_rng(0).normal(size=(3, N, 6))
    np.savez(tmp_path / "mine.npz", target=samples[0], x=samples[1], y=samples[2])
    config = dataclasses.replace(TINY, npz=tmp_path / "mine.npz", out=tmp_path / "run")
    (part,) = pid_gaussian.main(config)["parts"]
    printed = capsys.readouterr().out
    report_of_api = str(estimate(*samples, key=jax.random.key(TINY.seeds[0]), **CONFIG_OF_REPORT))
    assert report_of_api in printed
    assert "verdict: not to be used" in printed
    assert part["verdict"] == part["layers"][0]["verdict"] == "not to be used"
    assert {"weight": "unusable", "kind": "uncorrected bias"}.items() <= part["flags"][0].items()
    with (tmp_path / "run" / "table.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["not to be used"]


def test_layers_are_reported_by_verdict_and_their_flags_by_weight():
    flags = [
        {"weight": "unusable", "kind": "large bias", "flag": "layer 1: a."},
        {"weight": "note", "kind": "no information", "flag": "layers 0-2: b."},
    ]
    verdicts = ["sound", "not to be used", "sound"]
    numbers = dict.fromkeys(
        [f"{f}{s}" for f in FIELDS for s in ("", "_plugin", "_low", "_high", "_null_high")], 0.5
    )
    layers = [{"n": 9, "verdict": verdict, **numbers} for verdict in verdicts]
    row = {"layers": layers, "names": ("a", "b"), "config": "recommended", "flags": flags, "report": []}
    tables = own_activations.report([row])
    assert [table.title for table in tables[2:]] == ["Verdicts", "Flags, the heaviest first"]
    assert tables[2].rows == [("not to be used", "1", "1"), ("sound", "2", "0, 2")]
    assert tables[3].rows == [("unusable", "layer 1: a."), ("note", "layers 0-2: b.")]


def test_the_reader_gives_back_the_arrays_bit_for_bit(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    for name, array in read(tmp_path / "a.npz")._asdict().items():
        np.testing.assert_array_equal(array, arrays()[name])


def test_equal_flags_of_layers_are_one_line():
    flags = ("layer 0: a: b", "layer 1: a: b", "layer 3: a: b", "layer 2: c")
    assert group_flags(flags) == ["layers 0-1, 3: a: b", "layer 2: c"]


def test_flags_of_layers_keep_their_weight_and_differ_at_most_in_numbers():
    flags = (
        Flag("layer 0: kept of x 8 of 64 (11.5 %).", "note", "reduced features"),
        Flag("layer 1: kept of x 8 of 64 (9 %).", "note", "reduced features"),
        Flag("layer 1: 0.3 bits were dropped.", "doubt", "dropped information"),
        Flag("layer 2: 2.5 bits were dropped.", "unusable", "dropped information"),
    )
    grouped = group_flags(flags)
    assert grouped == [
        "layer 2: 2.5 bits were dropped.",
        "layer 1: 0.3 bits were dropped.",
        "layers 0-1 (layer 0 quoted): kept of x 8 of 64 (11.5 %).",
    ]
    assert [flag.weight for flag in grouped] == ["unusable", "doubt", "note"]
    assert grouped[0].kind == "dropped information"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.npz", None, FileNotFoundError, "none.npz, which is not a file; check --npz"),
        ("a.csv", b"1,2", ValueError, r"read from .npz or .safetensors, got a.csv; save arrays"),
        ("a.npz", b"no zip", ValueError, "readable .npz of plain arrays, got: no zip archive"),
        ("a.safetensors", b"short", ValueError, "readable .safetensors of plain arrays, got: .*header"),
        ("a.npz", {"x": 1, "z": 2, "y": 3}, ValueError, "without target; it has x, y, z"),
        ("a.npz", {}, ValueError, "without target, x, y; it has none"),
        ("a.npz", {"target": [{}], "x": 1, "y": 2}, ValueError, "Object arrays"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_there_is_a_folder(
    name, content, error, message, tmp_path
):
    if isinstance(content, dict):
        np.savez(tmp_path / name, **{k: np.asarray(v) for k, v in content.items()}, allow_pickle=True)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    config = dataclasses.replace(TINY, npz=tmp_path / name, out=tmp_path / "run")
    with pytest.raises(error, match=message):
        pid_gaussian.main(config)
    assert not (tmp_path / "run").exists()


def test_arrays_that_do_not_fit_are_refused_before_there_is_a_folder(tmp_path):
    np.savez(tmp_path / "a.npz", **{**arrays(), "y": arrays()["y"][:, 1:]})
    with pytest.raises(ValueError, match="same samples in the same order, got target .64, 4."):
        pid_gaussian.main(dataclasses.replace(TINY, npz=tmp_path / "a.npz", out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# Records and tables.


def test_records_name_what_is_infinite_or_was_not_asked_for():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(N, 4))
    result = estimate(
        target, target, rng.normal(size=(N, 4)), reduce=None, gaussianize="none", ci=None, null=None,
        key=jax.random.key(0),
    )  # fmt: skip
    (record,) = result.to_records()
    assert record["mi_x"] == np.inf
    assert record["mi_x_low"] is None
    assert "infinite" in record["flags"]
    assert to_json(record)["mi_x"] is None
    assert json.loads(json.dumps(to_json(record)))["n"] == N


@pytest.mark.parametrize(("value", "text"), [(-1e-9, "0.000"), (-0.25, "-0.250"), (None, "infinite")])
def test_numbers_have_no_negative_zero(value, text):
    assert report.number(value) == text
