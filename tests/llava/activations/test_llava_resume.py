"""Captures resume after a kill and after damage, processes share them, and captures that break a rule are refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from pid import llava
from pid.llava import Knockout, TokenType
from tests.helpers import tiny_llava
from tests.helpers.tiny_llava import (
    IMAGE,
    LAST,
    QUICK,
    assert_same_results,
    capture,
    files,
    row,
    rows,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True, scope="module")
def quick():
    with tiny_llava.quick_programs():
        yield


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A store captured without interruption."""
    return capture(tmp_path_factory.mktemp("straight") / "store")


# Resume


def test_kill_9_then_resume_leaves_the_bytes_of_an_uninterrupted_run(captured, tmp_path):
    folder = tmp_path / "store"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", QUICK: "true"}
    command = [sys.executable, "-m", "tests.helpers.tiny_llava", str(folder), "600"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline, manifest = time.monotonic() + 120, folder / "manifest-0000.jsonl"
    while not (manifest.exists() and manifest.read_bytes().endswith(b"\n")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no shard was written"
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert llava.Store.open(folder).names == ("a", "b")
    (folder / "shard-0.safetensors.0.part").write_bytes(b"half")
    with manifest.open("ab") as file:
        file.write(b'{"file": "shard-')
    capture(folder)
    assert files(folder) == files(captured.path)


def test_damaged_shards_alone_are_captured_again(captured, tmp_path, capsys):
    folder = Path(shutil.copytree(captured.path, tmp_path / "store"))
    first, second, third = (folder / shard.file for shard in captured.shards)
    first.write_bytes(first.read_bytes()[:-1])
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    before = third.stat().st_ino
    with pytest.raises(ValueError, match=rf"but .*{first.name} has \d+ bytes instead of \d+; capture again"):
        llava.Store.open(folder)
    assert_same_results(capture(folder), captured)
    assert {k: v for k, v in files(folder).items() if "shard" in k} == {
        path.name: path.read_bytes() for path in captured.path.glob("shard-*")
    }
    assert third.stat().st_ino == before
    assert capsys.readouterr() == ("", "")  # no terminal, no bar


def test_processes_capture_their_shares_into_one_store(captured, tmp_path):
    assert capture(tmp_path, share=(1, 2)).names == ("b", "d")
    assert_same_results(capture(tmp_path, share=(0, 2)), captured)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "manifest-0000.jsonl",
        "manifest-0001.jsonl",
    ]
    before = files(tmp_path)
    capture(tmp_path)  # one process, and everything is stored already
    assert files(tmp_path) == before


def test_states_in_bfloat16_are_rounded_and_answers_are_not(captured, tmp_path):
    class Encoded:
        """An object with rows, like an encoded batch."""

        def rows(self):
            return iter(rows())

    store = capture(tmp_path, Encoded(), dtype="bfloat16")
    rounded, exact = (np.asarray(s.states("first", LAST)) for s in (store, captured))
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(store.p_new("first"), captured.p_new("first"))


# Refusals


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": "other"}, "got weights: stored '', now 'other'; use the stored values"),
        ({"encoding": "other"}, "got encoding: stored '', now 'other'"),
        ({"groups": (IMAGE, LAST)}, "got groups: stored [2, 3, 4, 5], now [2, 4]"),
        ({"buckets": llava.Buckets((24, 32), (8,))}, "got buckets.prefix: stored [32], now [24, 32]"),
        (
            {"conditions": {"baseline": (), "first": (Knockout((0,)),)}},
            "got conditions.first: stored [{'layers': [0, 1], 'target': 3, 'source': 2}], now [{'layers': [0], ",
        ),
        ({"samples": rows() + rows()[1:2]}, "rows have names of their own, got 'b' twice"),
        ({"samples": rows()[1:]}, "rows keep their places, got 'b' at 0, where the store has 'a'"),
        (
            {"conditions": {"cut": (Knockout((0,)),)}},
            "one condition is the baseline, without knockouts, got []",
        ),
        ({"conditions": {"baseline": (), "cut": (Knockout((3,)),)}}, "the model has layers 0 … 2, got [3]"),
        (
            {"states": ("second",)},
            "states are stored of conditions, got ['second']; name some of ['baseline', ",
        ),
        ({"options": (24,)}, "options are token ids 0 … 23, got [24]"),
        ({"groups": (IMAGE, TokenType.PAD)}, "groups are different types above PAD=0, got (2, 0)"),
        ({"dtype": "float16"}, "states are stored as float32 or bfloat16, got 'float16'"),
    ],
)
def test_capture_that_breaks_a_rule_is_refused_and_leaves_the_store(changed, words, captured):
    before = files(captured.path)
    with pytest.raises(ValueError, match=re.escape(words)):
        capture(captured.path, **changed)
    assert files(captured.path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"types": np.array([1, 2], np.int32)},
            "as many types as ids and no padding, got ids (35,), types (2,)",
        ),
        ({"types": np.zeros(35, np.int32)}, "35 of PAD in row 'x'"),
        (
            {"types": np.ones(35, np.int32)},
            "an image has tokens and pixels, got 0 tokens of IMAGE and pixels",
        ),
        ({"image_size": (4, 8)}, "one image token 23 per image feature, got 24 for 14"),
    ],
)
def test_row_that_breaks_a_rule_is_refused(change, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)):
        capture(tmp_path, [row("x", before=5, after=6)._replace(**change)])


def test_row_beyond_the_longest_bucket_and_buckets_out_of_order_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a prefix has at most 32 tokens, got 34 in row 'long'"):
        capture(tmp_path, [row("long", before=10)])
    with pytest.raises(ValueError, match=r"positive lengths in rising order, got suffix=\(8, 4\)"):
        llava.Buckets((8,), (8, 4))
