"""Output that does not end a run: failing streams, encodings, closed streams, and what a run saves meanwhile."""

import errno
import io
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from experiments import run
from experiments.run import figures
from experiments.run.console import SafeStream, encodable, failure, failure_code, open_console
from experiments.run.report import Table
from experiments.run.studies import study
from tests.helpers.tiny_program import Config, main

ROOT = Path(__file__).resolve().parents[3]


class FailingStream(io.StringIO):
    """A stream whose writes fail after some characters, as on a closed pipe or a full disk."""

    def __init__(self, number: int, *, after: int = 0) -> None:
        super().__init__()
        self.number, self.after = number, after

    def write(self, text: str) -> int:
        if self.tell() + len(text) > self.after:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


def ascii_stream():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)


@pytest.mark.parametrize("name", ["a$b$c", r"$\frac$", "line\nbreak", "\uff12", "tab\t"])
def test_any_name_of_a_run_is_the_title_of_its_figures(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = figures.save(Figure(), tmp_path, "curves", title=f"run folder {name}")
    assert path.stat().st_size > 0
    assert "\n" not in figures.without_math(name)


def test_a_stream_records_its_first_error_and_shows_nothing_from_then_on():
    stream = SafeStream(FailingStream(errno.ENOSPC, after=3))
    assert [stream.write(text) for text in ("abc", "defg", "h")] == [3, 4, 1]
    stream.flush()
    assert isinstance(stream.failure, OSError)
    assert stream.failure.errno == errno.ENOSPC
    assert stream.getvalue() == "abc"


def test_a_closed_stream_is_a_failure_and_a_missing_or_slow_one_is_not():
    closed = io.StringIO()
    closed.close()
    streams = [SafeStream(stream) for stream in (closed, None, FailingStream(errno.EAGAIN))]
    for stream in streams:
        stream.write("text")
        stream.flush()
        stream.writelines(["more"])
        assert not stream.isatty()
    assert [stream.failure is None for stream in streams] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("46.1 ± 0.8 → α", "ascii", "46.1 +- 0.8 -> alpha"),
        ("46.1 ± 0.8 → α", "latin-1", "46.1 ± 0.8 -> alpha"),
        ("46.1 ± 0.8 → α", "utf-8", "46.1 ± 0.8 → α"),
        ("Nyström ─│ 視", "ascii", "Nystrom -| ?"),
        ("folder \udcff", "utf-8", "folder ?"),  # a file name that is not UTF-8
    ],
)
def test_what_an_encoding_lacks_is_replaced(text, encoding, expected):
    assert encodable(text, encoding) == expected


def test_prints_of_libraries_survive_an_ascii_terminal(monkeypatch):
    stream = ascii_stream()
    monkeypatch.setattr(sys, "stdout", stream)
    with run.safe_output():
        print("1 ± 2")
        open_console().print("[a] :smile: →")
    assert sys.stdout is stream
    assert stream.buffer.getvalue().decode() == "1 +- 2\n[a] :smile: ->\n"


@pytest.mark.parametrize(("number", "code"), [(errno.EPIPE, 141), (errno.ENOSPC, 1), (errno.EIO, 1)])
def test_the_exit_code_is_141_for_a_pipe_and_1_otherwise_after_all_is_done(number, code, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(sys, "stdout", FailingStream(number))

    @run.safe_output("everything is written")
    def program():
        print("lost")
        done.append(failure() is not None)

    with pytest.raises(SystemExit) as stopped:
        program()
    assert (stopped.value.code, done) == (code, [True])
    assert capsys.readouterr().err == f"the display failed ({os.strerror(number)}); everything is written\n"


def test_an_error_of_standard_error_alone_is_silent(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", FailingStream(errno.ENOSPC))
    with run.safe_output():
        print("remark", file=sys.stderr)
        print("result")
        assert failure_code() == 0
    assert capsys.readouterr().out == "result\n"


# Trainings.


def train_with(stream, monkeypatch, folder, **options):
    """Run the tiny training while standard output is this stream, and return its exit code."""
    program = run.safe_output("the run is finished")(main)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as stopped:
            program(Config(out=folder, **options))
    return stopped.value.code


def test_a_full_disk_in_training_saves_the_step_and_the_rest_follows(tmp_path, monkeypatch, capsys):
    # The line of step 1 is written; the evaluation after step 4 is not.
    code = train_with(FailingStream(errno.ENOSPC, after=150), monkeypatch, tmp_path / "run")
    assert code == 1
    words = (
        r"the display failed \(No space left on device\); plain, seed 0: step (\d+) is saved; continue with "
    )
    saved = re.fullmatch(f"{words}--resume\n", capsys.readouterr().err)
    assert saved is not None
    assert 4 < int(saved[1]) < 12
    assert (tmp_path / "run" / "checkpoints" / "plain-0" / saved[1]).is_dir()
    resumed = main(Config(out=tmp_path / "run", resume=True))[0]
    whole = main(Config(out=tmp_path / "whole"))[0]
    assert resumed.test_loss == whole.test_loss
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("run", "whole")]
    assert logs[0] == logs[1]


def test_a_pipe_that_closes_in_the_last_step_loses_nothing(tmp_path, monkeypatch, capsys):
    stream = FailingStream(errno.EPIPE, after=150)
    code = train_with(stream, monkeypatch, tmp_path, steps=4)
    assert code == 141
    assert capsys.readouterr().err == "the display failed (Broken pipe); the run is finished\n"
    assert json.loads((tmp_path / "summary.json").read_text())["rows"][0]["steps"] == 4


def test_after_a_failure_no_further_training_begins(tmp_path, monkeypatch, capsys):
    stream = FailingStream(errno.EPIPE, after=150)
    code = train_with(stream, monkeypatch, tmp_path, steps=4, variants=("plain", "steady"))
    assert code == 141
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["plain-0.json"]
    assert "all finished trainings are saved; continue with --resume" in capsys.readouterr().err


# Studies.


class Sums(run.Study[list[run.Row]]):
    """A study of two parts."""

    program, title, stem, count = "sums", "sums", "sums", 2

    def measure(self, runner):
        return runner.rows(run.Part(name, lambda folder, say: {"value": 1}) for name in ("a", "b"))

    def tabulate(self, results):
        return [Table("Sums", ("name", "value"), [("a", str(row["value"])) for row in results])]

    def summarize(self, results, tables):
        return {"rows": [row["value"] for row in results]}


def run_sums(stream, monkeypatch, folder, *, resume=False):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as stopped:
            run.run_study(Sums(), Config(out=folder), out=folder, resume=resume)
    return stopped.value.code


def test_a_study_stops_before_its_next_part_and_a_finished_one_writes_everything(tmp_path, monkeypatch):
    first_line = len(f"sums; run folder {tmp_path}\n")
    assert run_sums(FailingStream(errno.EPIPE, after=first_line + 5), monkeypatch, tmp_path) == 141
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["a-0.json"]
    run.run_study(Sums(), Config(out=tmp_path), out=tmp_path, resume=True)
    (tmp_path / "summary.json").unlink()
    assert run_sums(FailingStream(errno.ENOSPC), monkeypatch, tmp_path, resume=True) == 1
    assert json.loads((tmp_path / "summary.json").read_text())["rows"] == [1, 1]


class Seeded(Sums):
    """The study with a seed for each part."""

    def measure(self, runner):
        return runner.rows(run.Part("a", lambda folder, say: {"value": 1}, seed) for seed in (0, 1))


def test_a_row_of_another_part_or_seed_is_named(tmp_path):
    run.run_study(Seeded(), Config(out=tmp_path), out=tmp_path, resume=False)
    (tmp_path / "rows" / "a-1.json").write_text((tmp_path / "rows" / "a-0.json").read_text())
    with pytest.raises(ValueError, match=r"a-1\.json must be the result of a, seed 1, got seed=0; delete it"):
        run.run_study(Seeded(), Config(out=tmp_path), out=tmp_path, resume=True)


def test_the_summary_is_written_before_a_result_is_printed(tmp_path, monkeypatch):
    def show(tables, console, layout):
        raise AssertionError("a display that is broken")

    monkeypatch.setattr(study, "show", show)
    with pytest.raises(AssertionError, match="broken"):
        run.run_study(Sums(), Config(out=tmp_path), out=tmp_path, resume=False)
    assert json.loads((tmp_path / "summary.json").read_text())["rows"] == [1, 1]


# Real streams, once each.

PRINTER = """
import sys, time
from experiments import run
@run.safe_output("all is written")
def main():
    for number in range(2000):
        print("line ± →", number)
    sys.stdout.flush()
main()
"""


@pytest.mark.parametrize("target", ["| head -1", "> /dev/full", ">&- ", ">&- 2>&-"])
def test_real_streams_that_fail_leave_no_words_of_python(target):
    command = f'"$0" -c "$1" {target}; exit "${{PIPESTATUS[0]}}"'
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = subprocess.run(
        ["bash", "-c", command, sys.executable, PRINTER],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    code, reason = {"|": (141, "Broken pipe"), ">": (1, "No space left on device")}.get(target[0:1], (0, ""))
    expected = (code, f"the display failed ({reason}); all is written\n")
    assert (process.returncode, process.stderr) == ((0, "") if ">&-" in target else expected)
    assert process.stdout == ("line +- -> 0\n" if target.startswith("|") else "")
