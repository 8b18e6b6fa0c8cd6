"""`metrics.jsonl`: damaged lines are named, repairs are told, and no record is mixed with another."""

import json

import pytest

from experiments.run.folder.metrics_log import MetricsLog


def line(step, variant="a", seed=0, **values):
    return json.dumps({"variant": variant, "seed": seed, "step": step, **values}).encode() + b"\n"


@pytest.fixture
def log(tmp_path):
    return MetricsLog(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"garbage", r"is no JSON \(Expecting value: line 1 column 1 \(char 0\)\): 'garbage'"),
        (b'{"variant": "a", "se', "is no JSON"),
        (b"[1]", r"is no object but \[1\]"),
        (b'{"variant": "a", "seed": 0}', "has 'nothing' under 'step'"),
        (b'{"variant": "a", "seed": 0, "step": "4"}', "has '4' under 'step'"),
        (b'{"variant": "a", "seed": 0, "step": 4, "loss": NaN}', "NaN is no number"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"\0\0\0", "is no JSON"),
    ],
)
def test_bad_line_is_named_with_its_number(text, words, log):
    log.path.write_bytes(line(2) + text + b"\n" + line(4))
    with pytest.raises(
        ValueError,
        match=rf"every line of .*metrics.jsonl must be .* got line 2 which .*{words}.*; correct or",
    ):
        log.records("a", 0)


def test_incomplete_last_line_is_dropped_and_reported(log):
    log.path.write_bytes(line(2) + line(4)[:-10])
    assert [record["step"] for record in log.records("a", 0)] == [2]
    assert log.repair("a", 0) == [f"dropped an incomplete last line of {log.path}, which a kill has left"]
    assert log.path.read_bytes() == line(2)
    assert log.repair("a", 0) == []


def test_last_record_without_the_end_of_its_line_stays(log):
    log.path.write_bytes(line(2) + line(4)[:-1])
    assert log.repair("a", 0) == []
    log.append({"variant": "a", "seed": 0, "step": 6})
    assert [record["step"] for record in log.records("a", 0)] == [2, 4, 6]


def test_marks_of_editors_are_removed(log):
    log.path.write_bytes(b"\xef\xbb\xbf" + line(2).replace(b"\n", b"\r\n") + b"\n" + line(4))
    assert log.repair("a", 0) == []
    assert log.path.read_bytes() == line(2) + line(4)


def test_repeated_records_are_dropped_and_contradictory_ones_refused(log):
    log.path.write_bytes(line(2) + line(4) + line(2, "b") + line(4) + line(6))
    (note,) = log.repair("a", 0)
    assert "dropped 1 repeated records" in note
    assert "(line 4)" in note
    assert log.path.read_bytes() == line(2) + line(4) + line(2, "b") + line(6)
    log.path.write_bytes(line(2, loss=1.0) + line(2, "b", loss=3.0) + line(2, loss=2.0))
    with pytest.raises(
        ValueError, match=r"got two of step 2 with different values \(lines 1 and 3\); delete the wrong line"
    ):
        log.repair("a", 0)


def test_records_out_of_order_are_sorted_and_those_of_other_trainings_stay_in_place(log):
    log.path.write_bytes(line(6) + line(1, "b") + line(2) + line(0, "b") + line(4))
    (note,) = log.repair("a", 0)
    assert "sorted the records" in note
    assert log.path.read_bytes() == line(2) + line(1, "b") + line(4) + line(0, "b") + line(6)


def test_missing_file_has_no_records(log):
    assert (log.records("a", 0), log.repair("a", 0)) == ([], [])
    log.sync()
    assert not log.path.exists()
