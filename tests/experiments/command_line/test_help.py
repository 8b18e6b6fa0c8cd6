"""`--help` as a new user reads it, and options that messages name."""

import ast
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from experiments import aot, bench, claims, lm, lra, pid_gaussian, pid_llava, placement, stability
from experiments import text as text_program
from experiments.data import inventory
from experiments.lm import long
from experiments.lra import suite
from experiments.pid_llava.toy import toy_training
from experiments.run.killtest.kills import KillTest
from pid.interface.command_options import options_of
from pid.llava.parity.memory import Sizes
from pid.llava.parity.report import Verify

ROOT = Path(__file__).resolve().parents[3]
LINES = {
    "data": inventory.command_line,
    "lra": lra.command_line,
    "suite": suite.suite_command_line,
    "lm": lm.command_line,
    "long": long.long_command_line,
    "claims": claims.command_line,
    "stability": stability.command_line,
    "placement": placement.command_line,
    "pid_gaussian": pid_gaussian.command_line,
    "pid_llava": pid_llava.command_line,
    "train": toy_training.command_line,
    "bench": bench.command_line,
    "aot": aot.command_line,
    "text": text_program.command_line,
}
TEXTS = [
    pytest.param(line, preset, id=f"{name} {preset}")
    for name, line in LINES.items()
    for preset in line.presets
]
INNER = (
    r"\(required\)|\bNone\b|\bINT\b|\bSTR\b|\bFLOAT\b|\btuple\b|\bbool\b|tyro|MISSING|dataclass|`|(^|\s)/\w"
)


@pytest.mark.parametrize(("line", "preset"), TEXTS)
def test_help_has_no_inner_names_and_fits_80_columns(line, preset, capsys):
    with pytest.raises(SystemExit) as stopped:
        line([*([preset] if len(line.presets) > 1 else []), "--steps", "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert text == line.help(preset) + "\n"
    assert not re.search(INNER, text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    for option in options_of(line.presets[preset][1]):
        assert f"\n  --{option.name}" in text
        assert re.search(r"[a-z]{3}", option.description), option.name
        assert option.description.endswith("."), option.name
    assert all(f"\n  {name}\n" in text for name in ("-h, --help", "--version", "--traceback"))


def test_help_after_anything_is_help(capsys):
    for words in (
        ["-h"],
        ["help"],
        ["--steps", "0", "--help"],
        ["--nonsense", "-h"],
        ["--seeds", "1", "-help"],
    ):
        with pytest.raises(SystemExit) as stopped:
            lra.command_line(words)
        assert stopped.value.code == 0
        assert "usage: python -m experiments.lra" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], "COMMAND"),
        (["verify"], "--no-against-torch"),
        (["sizes"], "The mesh to divide the parameters over."),
    ],
)
def test_help_of_pid_llava(words, parts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pid.llava", *words, "--help"])
    with pytest.raises(SystemExit) as stopped:
        import_module("pid.llava.__main__").run()
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert parts in text
    assert not re.search(INNER, text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80


def test_minus_one_is_explained_where_it_is_read():
    texts = {option.name: option.description for option in options_of(lra.Config())}
    assert "-1 takes all that --mesh.model leaves" in texts["mesh.data"]
    assert "-1 takes all that --mesh.data leaves" in texts["mesh.model"]


@pytest.mark.parametrize("name", ["out", "resume"])
def test_the_same_option_has_the_same_words_in_all_programs(name):
    texts = set()
    for line in LINES.values():
        (option,) = [option for option in options_of(line.presets[line.default][1]) if option.name == name]
        texts.add(re.sub(r"runs/\w+/", "runs/NAME/", option.description))
    assert len(texts) == 1


# Options in messages


@cache
def names(*programs):
    """The options of these programs; without an argument those of all."""
    tables = {name: line.presets[line.default][1] for name, line in LINES.items()}
    tables |= {"verify": Verify, "sizes": Sizes, "killtest": KillTest}
    common = {"traceback", "version", "help"}
    return common.union(
        *({option.name for option in options_of(tables[name])} for name in programs or tables)
    )


def strings(file):
    """The texts of a file that are no docstrings, with {} for values."""
    tree = ast.parse(file.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def programs_of(file):
    """The programs whose users may read the messages of a file."""
    package, room = file.relative_to(ROOT).parts[:2]
    if room == "data" and "inventory" not in file.parts:
        return ()  # all programs read data
    if package == "experiments" and room in LINES:
        return (room, *{"pid_llava": ("train",), "lra": ("suite", "lm"), "lm": ("long",)}.get(room, ()))
    if "killtest" in file.parts:
        return ("killtest", "lra")
    return ("verify", "sizes", "pid_llava", "bench") if (package, room) == ("pid", "llava") else ()


SOURCES = sorted(file for name in ("experiments", "pid", "pdeformer") for file in (ROOT / name).rglob("*.py"))


def test_every_option_in_a_message_exists():
    wrong, count = [], 0
    for file in SOURCES:
        known = names(*programs_of(file)) | {
            "train",
            "dtype.NAME",
            *("only-binary", "binary", "no-deps", "dest", "silent", "retries", "task", "configuration"),
            "local-dir",
            "deps",
        }  # the last ones are of `hf download` and of pip
        for text in strings(file):
            for match in re.finditer(r"(?<![\w-])--(no-)?([a-z][a-z.-]*[a-z0-9])(?![\w{])", text):
                count += 1
                if match.group(2) not in known and f"{match.group(2)}." not in " ".join(sorted(known)):
                    wrong.append(f"{file.relative_to(ROOT)}: {match.group()}")
    assert not wrong
    assert count > 60
