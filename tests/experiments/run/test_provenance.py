"""Facts of every start: recorded, compared with the first start, and refused if every number would change."""

import dataclasses
import json
import os
import sys

import jax
import pytest

from experiments import run
from experiments.run.folder import provenance, start_log
from tests.helpers.tiny_program import Config, main


def starts(folder):
    return [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]


def open_tiny(folder, *, resume=False):
    return run.open_run(folder, Config(out=folder), resume=resume)


def begin(folder, *, resume=False):
    """Start a run that computes nothing, and record the start."""
    with open_tiny(folder, resume=resume) as again:
        again.record_start()
        return again


def test_a_start_is_recorded_with_its_facts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.lra", "--out", "a b"])
    begin(tmp_path)
    (start,) = starts(tmp_path)
    assert start["command"] == "python -m experiments.lra --out 'a b'"
    assert start["directory"] == os.getcwd()  # noqa: PTH109
    facts = start["environment"]
    assert facts["jax"] == jax.__version__
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert (facts["platform"], facts["devices"], facts["processes"]) == ("cpu", 8, 1)
    assert facts["XLA_FLAGS"] == os.environ.get("XLA_FLAGS")
    assert facts["jax_enable_x64"] is False
    assert facts["code"]


def test_starts_that_train_are_recorded_and_reports_are_not(tmp_path):
    config = Config(out=tmp_path, steps=2)
    main(config)
    main(dataclasses.replace(config, resume=True))
    assert len(starts(tmp_path)) == 1
    (tmp_path / "rows" / "plain-0.json").unlink()
    main(dataclasses.replace(config, resume=True))
    assert len(starts(tmp_path)) == 2
    assert "different_starts" not in json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("cores", 77, "cores 77 (first start "),
        ("jax", "9.9", f"jax 9.9 (first start {jax.__version__})"),
        (
            "XLA_FLAGS",
            "--xla_cpu_enable_fast_math=true",
            "XLA_FLAGS --xla_cpu_enable_fast_math=true (first start ",
        ),
        ("device", "TPU v9", "device TPU v9 (first start cpu)"),
        (
            "jax_default_matmul_precision",
            "highest",
            "jax_default_matmul_precision highest (first start None)",
        ),
        ("code", "0.2.0", "code 0.2.0 (first start "),
    ],
)
def test_difference_that_can_change_bits_is_said_and_stands_in_the_summary(
    tmp_path, monkeypatch, fact, value, words
):
    begin(tmp_path)
    now = provenance.environment() | {fact: value}
    monkeypatch.setattr(start_log, "environment", lambda: now)
    again = begin(tmp_path, resume=True)
    (note,) = again.notes
    assert note.startswith(f"resumed with {words}")
    assert note.endswith("what it computes can differ in the last bits")
    summary = again.summarize({"program": "tiny"})
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    (line,) = summary["different_starts"]
    assert line.startswith("start 2 of 20")
    assert words in line


def test_equal_start_has_nothing_to_say(tmp_path):
    begin(tmp_path)
    assert begin(tmp_path, resume=True).notes == ()


@pytest.mark.parametrize(
    ("option", "value", "variable"),
    [
        ("jax_enable_x64", True, "JAX_ENABLE_X64"),
        ("jax_default_prng_impl", "rbg", "JAX_DEFAULT_PRNG_IMPL"),
        ("jax_threefry_partitionable", False, "JAX_THREEFRY_PARTITIONABLE"),
        ("jax_random_seed_offset", 1, "JAX_RANDOM_SEED_OFFSET"),
    ],
)
def test_option_that_changes_every_number_is_refused(tmp_path, option, value, variable):
    begin(tmp_path)
    before, was = (tmp_path / "starts.jsonl").read_bytes(), getattr(jax.config, option)
    jax.config.update(option, value)
    try:
        with pytest.raises(
            ValueError, match=f"{variable} must be as at the first start of a run, got {value}, and {was}"
        ):
            open_tiny(tmp_path, resume=True)
    finally:
        jax.config.update(option, was)
    assert (tmp_path / "starts.jsonl").read_bytes() == before
    assert not (tmp_path / "lock").exists()


def test_run_of_an_earlier_release_is_compared_by_its_versions(tmp_path):
    begin(tmp_path)
    (tmp_path / "starts.jsonl").unlink()
    versions = json.loads((tmp_path / "versions.json").read_text())
    (tmp_path / "versions.json").write_text(json.dumps(versions | {"numpy": "1.0"}))
    with open_tiny(tmp_path, resume=True) as again:
        (note,) = again.notes
    assert f"numpy {versions['numpy']} (first start 1.0)" in note


@pytest.mark.parametrize("line", ["", "{", "[]", '{"time": "now"}'])
def test_damaged_record_is_named_with_its_line(tmp_path, line):
    begin(tmp_path)
    path = tmp_path / "starts.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(
        ValueError, match=rf"a line of {path} must be .*, got line 2 with .*; delete the line"
    ):
        open_tiny(tmp_path, resume=True)


@pytest.mark.parametrize("content", ["", "[]"])
def test_damaged_versions_of_an_earlier_release_are_named(tmp_path, content):
    open_tiny(tmp_path).close()
    (tmp_path / "versions.json").write_text(content)
    with pytest.raises(ValueError, match=rf"{tmp_path / 'versions.json'} must be .*; delete it"):
        open_tiny(tmp_path, resume=True)


# Data.


def test_hashes_of_data_are_saved_and_other_data_are_refused(tmp_path):
    with open_tiny(tmp_path) as folder:
        folder.record_data({"listops": "aa"})
        folder.record_data({"gqa": "bb"})
        assert folder.summarize({})["data"] == {"listops": "aa", "gqa": "bb"}
    with open_tiny(tmp_path, resume=True) as folder:
        folder.record_data({"listops": "aa"})
        words = rf"got listops with hash cc and aa at the first start \({tmp_path / 'data.json'}\); restore the data"
        with pytest.raises(ValueError, match=words):
            folder.record_data({"listops": "cc"})
    assert json.loads((tmp_path / "data.json").read_text()) == {"listops": "aa", "gqa": "bb"}
