"""Tables and progress on lines of every length: no cell is cut, and the bar and the step stay."""

import io
import itertools

import pytest
from rich.cells import cell_len
from rich.console import Console

from experiments.run.console import columns_of, is_interactive
from experiments.run.progress import StudyProgress, TrainingProgress, fit_line
from experiments.run.report import Layout, Table, interval, lay_out_table, show

COLUMNS = ("variant", "test, last", "s.e.", "last vs baseline", "test, best", "best vs baseline", "val")
ROWS = [
    ("baseline", "46.1 ± 0.8", "1.1", "", "46.0", "", "47.0"),
    ("attention_advection-diffusion", "45.3 ± 1.2", "1.1", "-0.8 [-12.1, +10.5]", "46.2", "+0.2 [-1.0, +1.4]", "46.8"),
    (),
    ("majority class", "15.0", "", "", "", "", ""),
]  # fmt: skip
PROSE = "all layers of the language model, averaged over the seeds, are larger in the second half than in the first"


def plain(lines):
    return [line.plain for line in lines]


def text_of(stream):
    """Return what a console has written."""
    return stream.file.getvalue()


def console(width=None, **variables):
    """A console on a terminal of this width, or on a file."""
    environment = {"TERM": "xterm", **variables}
    file, is_terminal = io.StringIO(), width is not None
    return Console(file=file, force_terminal=is_terminal, width=width, markup=False, _environ=environment)


@pytest.mark.parametrize("justify", ["left", "right"])
def test_in_a_log_every_row_is_one_line_with_all_its_cells(justify):
    wide = ("x" * 500, PROSE * 5, *"abcde")
    lines = plain(lay_out_table(COLUMNS, [*ROWS, wide], None, justify))
    assert len(lines) == 2 + len(ROWS) + 1
    for row, line in zip([COLUMNS, *ROWS, wide], [lines[0], *lines[2:]], strict=True):
        position = 0
        for cell in row:
            position = line.index(cell, position) + len(cell)


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80, 100, 120])
def test_on_a_terminal_no_line_is_longer_and_no_cell_is_cut(width):
    lines = plain(lay_out_table(COLUMNS, ROWS, width, "right"))
    longest_cell = max(cell_len(cell) for row in ROWS for cell in row)
    assert max(map(cell_len, lines)) <= max(width, longest_cell)
    text = "\n".join(lines)
    assert "…" not in text
    for cell in itertools.chain(COLUMNS[1:], *ROWS):
        assert all(word in text for word in cell.split(" "))
        # only where a column's name and its cell are longer than a line, they are wrapped between words
        assert cell in text or cell_len(cell) + len("  last vs baseline: ") > width


def test_columns_that_move_below_repeat_the_name_of_the_row():
    lines = plain(lay_out_table(COLUMNS, ROWS, 80, "right"))
    first = lines.index("")
    assert lines[0].split()[:3] == ["variant", "test,", "last"]
    assert lines[first + 1].split() == ["variant", "best", "vs", "baseline", "val"]
    assert [line for line in lines if line.startswith("attention_advection-diffusion")] == [
        "attention_advection-diffusion  45.3 ± 1.2   1.1  -0.8 [-12.1, +10.5]        46.2",
        "attention_advection-diffusion  +0.2 [-1.0, +1.4]  46.8",
    ]
    assert (
        len([line for line in lines if line.startswith("majority class")]) == 1
    )  # it has no cell in the second
    assert lines[-1] == "(2 blocks of columns; wider lines have them side by side)"


def test_rows_that_need_two_names_have_them_in_every_block():
    rows = [(task, model, *["0.123"] * 9) for task in ("color", "shape") for model in ("a", "b")]
    lines = plain(lay_out_table(("task", "model", *"123456789"), rows, 40))
    assert [line.split()[:2] for line in lines if line.startswith("color")] == [["color", "a"]] * 3
    assert sum(line.split()[:1] == ["b"] for line in lines) == 6  # the task of the row above stays blank


def test_prose_is_wrapped_between_words_beside_numbers_that_are_whole():
    lines = plain(lay_out_table(("claim", "numbers", "verdict"), [(PROSE, "1.23 [0.10, 2.30]", PROSE)], 80))
    assert max(map(len, lines)) <= 80
    assert sum("1.23 [0.10, 2.30]" in line for line in lines) == 1
    words = " ".join(line[: lines[1].index(" ")].strip() for line in lines[2:])
    assert words.split() == PROSE.split()


def test_a_cell_prints_as_it_is_whatever_its_characters(capsys):
    names = ("[red]folder[/]", ":smile:", "視覚", "a\x1b[31m\nb")
    stream = console()
    show([Table("[b]title", ("name", "value"), [(name, "1") for name in names])], stream, Layout("right"))
    lines = text_of(stream).splitlines()
    assert lines[1] == "[b]title"
    assert [line.rsplit(None, 1)[0].rstrip() for line in lines[4:]] == [*names[:3], "a [31m b"]
    assert len({cell_len(line) for line in lines[4:]}) == 1  # the numbers stand below each other


def test_a_grouped_table_leaves_repeated_names_blank():
    rows = [("a", "1"), ("a", "2"), ("b", "3")]
    assert plain(lay_out_table(("x", "y"), rows, None))[2:] == ["a  1", "   2", "", "b  3"]


def test_an_interval_without_ends_is_a_dash():
    assert [interval(*ends) for ends in ((0.1, 0.25), (None, 1.0), (float("nan"), 1.0))] == [
        "[0.100, 0.250]",
        "-",
        "-",
    ]


def test_columns_counts_and_a_file_has_no_end(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns_of(console()) is None
    for value, expected in (("50", 50), ("0", None), ("wide", None)):
        monkeypatch.setenv("COLUMNS", value)
        assert columns_of(console()) == expected


# Progress.

REMARKS = ("loss 2.0791", "accuracy 0.125", "12.3k tokens/s", "1:23:45 left")


@pytest.mark.parametrize("width", range(12, 140, 4))
@pytest.mark.parametrize("title", ["baseline, seed 0", "attention_advection-diffusion, seed 12"])
def test_the_bar_and_the_step_stay_and_the_last_remarks_fall_away_first(width, title):
    line = fit_line(title, 123, 4000, REMARKS, width).plain
    assert cell_len(line) <= width
    assert "123/4000" in line
    assert "─" in line
    present = [remark in line for remark in REMARKS]
    assert present == sorted(present, reverse=True)
    assert "…" not in line


def test_a_wide_line_has_everything_and_the_bar_is_the_share():
    line = fit_line("baseline", 50, 100, REMARKS, 200).plain
    assert line == f"baseline {'━' * 10}{'─' * 10} 50/100  {'  '.join(REMARKS)}"
    cut = fit_line("sums", 1, 2, ("0:01", "a long name of a part"), 50, cut=True).plain
    assert cut == f"sums {'━' * 10}{'─' * 10} 1/2  0:01  a long name …"


def test_a_terminal_that_cannot_redraw_gets_plain_lines():
    assert is_interactive(console(80))
    assert not is_interactive(console(80, TERM="dumb"))
    stream = console(80, TERM="dumb")
    with StudyProgress(stream, "sums", 2) as progress, progress.part("[first]"):
        progress.say("half")
    assert text_of(stream).splitlines()[0] == "[1/2] [first]: half"


def test_a_log_has_the_lines_of_a_training(capsys):
    with TrainingProgress("baseline", 10, 0, 64) as progress:
        progress.say("compiled")
        progress.step(1, 2.0, 0.5, 1.0)
        progress.step(2, 2.0, 0.5, 2.0)  # less than five seconds after the first one
    assert capsys.readouterr().out.splitlines() == [
        "baseline: compiled",
        "baseline: step 1/10  loss 2.0000  accuracy 0.500  64 tokens/s  0:09 left",
    ]
