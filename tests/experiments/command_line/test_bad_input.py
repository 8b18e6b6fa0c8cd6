"""Whatever a user writes wrongly, every program answers with one sentence, code 2, and nothing left behind."""

import re
import sys
import time
from importlib import import_module

import pytest

from tests.experiments.command_line.bad_inputs import BAD_INPUTS

CASES = [(program, words, parts) for program, rows in BAD_INPUTS.items() for words, *parts in rows]
SECONDS = 5.0


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Paths for the arguments; the current folder is empty."""
    for name in ("here", "full", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "text.npz").write_text("no archive")
    (tmp_path / "file").write_text("text")
    monkeypatch.chdir(tmp_path / "work")
    paths = {name: str(tmp_path / name) for name in ("here", "full", "file")} | {"question": "{question}"}
    return paths | {"nowhere": str(tmp_path / "file" / "below")}


def start(program, arguments, monkeypatch):
    """Start a program in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as stopped:
        import_module(f"{program}.__main__").run()
    return stopped.value.code


@pytest.mark.parametrize(("program", "words", "parts"), CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_a_bad_input_is_one_sentence_and_code_2(program, words, parts, places, tmp_path, monkeypatch, capsys):
    files = sorted(tmp_path.rglob("*"))
    import_module(f"{program}.__main__")  # whose time depends on the load of the machine
    begin = time.perf_counter()
    code = start(program, words.format(**places).split(), monkeypatch)
    assert time.perf_counter() - begin < SECONDS
    output, errors = capsys.readouterr()
    lines = [line for line in errors.splitlines() if " is read as --" not in line]
    assert (code, output, len(lines)) == (2, "", 1), errors
    (sentence,) = lines
    assert re.search(r"[.?]$", sentence)
    assert "Traceback" not in sentence
    for part in parts:
        assert part.format(**places) in sentence
    assert sorted(tmp_path.rglob("*")) == files


def test_the_table_is_long():
    assert len(CASES) >= 100
    assert min(map(len, BAD_INPUTS.values())) >= 9
