"""`experiments.bench`: the roofline of the machine, the share of a row, and the comparison with an earlier run."""

import dataclasses
import json
import math

import jax.numpy as jnp
import pytest

from experiments.bench import Config, machine, main
from experiments.bench.config import StateSize
from experiments.bench.earlier_run import read_earlier
from experiments.bench.machine import Machine, measure_machine
from experiments.bench.program import section_table, share
from experiments.bench.timing import Paired, Row, paired

FAST = Machine(bandwidth=1e9, rates={"float32 default": 1e10})


def test_least_time_is_that_of_products_or_of_memory():
    assert FAST.least_seconds({"float32 default": 1e10}, 1e8) == 1.0
    assert FAST.least_seconds({"float32 default": 1e8}, 1e8) == 0.1
    assert FAST.least_seconds({}, 2e9) == 2.0
    assert math.isnan(FAST.least_seconds({"bfloat16": 1.0}, 1e8))


def test_the_machine_is_measured():
    measured = measure_machine(elements=2**12, rows=32)
    assert measured.bandwidth > 0
    assert set(measured.rates) == {"float32 default", "float32 highest"}
    assert min(measured.rates.values()) > 0
    assert "GB/s" in measured.describe()


def test_a_pair_knows_what_its_first_program_needs():
    a = jnp.ones((64, 32))
    result = paired(lambda a: a @ a.T, lambda a: a @ a.T + 1, a, pairs=2)
    assert result.first_flops == {"float32 default": 2 * 64 * 32 * 64}
    assert result.first_least_bytes == 4 * (64 * 32 + 64 * 64)


def test_the_share_is_least_time_over_time():
    result = Paired(2.0, 4.0, 2.0, 0, 0, 2, first_flops={"float32 default": 1e7}, first_least_bytes=10)
    assert share(result, FAST) == pytest.approx(0.5)
    assert math.isnan(share(result._replace(first_flops=None), FAST))
    assert math.isnan(share(result._replace(pairs=0), FAST))


def summary_of(tmp_path, **changes):
    path = tmp_path / "summary.json"
    rows = [
        {"section": "taps", "case": "a", "first_ms": 6.0},
        {"section": "pid", "case": "a", "first_ms": None},
    ]
    path.write_text(json.dumps({"program": "bench", "device": "cpu", "rows": rows} | changes))
    return path


def test_a_row_has_the_earlier_time_over_its_own(tmp_path):
    earlier = read_earlier(summary_of(tmp_path))
    assert earlier.ratio("taps", "a", 2.0) == 3.0
    assert earlier.ratio("taps", "b", 2.0) is earlier.ratio("pid", "a", 2.0) is None
    assert earlier.ratio("taps", "a", math.nan) is None
    rows = [Row(case, Paired(2.0, 4.0, 2.0, 0, 0, 2)) for case in ("a", "b")]
    table = section_table("taps", rows, FAST, earlier)
    assert table.columns[-1] == "earlier / now"
    assert [cells[-1] for cells in table.rows] == ["3x", "-"]
    assert section_table("taps", rows, FAST).columns[-1] == "pairs"


def test_what_is_no_earlier_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.json which does not exist; check --compare"):
        main(Config(compare=tmp_path / "absent.json"))
    path = summary_of(tmp_path, program="lra")
    with pytest.raises(ValueError, match=r"is a summary\.json of bench, got .*; check --compare"):
        main(Config(compare=path))


def test_a_run_compares_itself_with_an_earlier_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "SMALL", {"elements": 2**10, "rows": 16})
    size = StateSize(tokens=32, channels=4, batch=2)
    config = Config(only=("taps",), pairs=2, state=size, out=tmp_path / "first")
    summary = main(config)
    assert set(summary["machine"]["rates"]) == {"float32 default", "float32 highest"}
    assert [row["case"] for row in summary["rows"]] == [
        *(f"{steps} steps, {kind}" for steps in (4, 8) for kind in ("constant", "traced")),
        "8 steps, 4 segments",
    ]
    assert all(0 < row["roofline_share"] < 2 for row in summary["rows"])  # tiny arrays, no quiet machine
    assert "machine: copy" in capsys.readouterr().out
    compared = dataclasses.replace(config, compare=tmp_path / "first" / "summary.json", resume=True)
    assert [row["first_ms"] for row in main(compared)["rows"]] == [row["first_ms"] for row in summary["rows"]]
    assert "earlier / now" in capsys.readouterr().out
