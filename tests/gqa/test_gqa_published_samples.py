"""Published samples: reading as questions, errors that name the damaged row."""

import pytest

from pid import gqa
from tests.helpers.folders import gqa_folder
from tests.helpers.folders.gqa_folder import expected


def test_a_published_file_holds_the_questions_themselves(tmp_path):
    rows = [row for row in expected() if gqa.task_of(row)]
    back = gqa.from_csv(gqa_folder.write_csv(tmp_path / "a.csv", rows))
    assert back == [row._replace(is_balanced=None, mentions=()) for row in rows]
    assert back[0].question_id == "00100"  # a string: the zeros belong to it


def test_a_published_file_need_not_have_the_other_columns(tmp_path):
    rows = [row for row in expected() if gqa.task_of(row) in ("ChooseRel", "QueryAttr")]
    columns = ("true option", "false option", "full answer", "captions", "image_w", "central object name")
    back = gqa.from_csv(gqa_folder.write_csv(tmp_path / "a.csv", rows, without=columns))
    assert back == [row._replace(is_balanced=None, mentions=(), full_answer="") for row in rows]


def test_the_options_of_a_published_row_are_its_columns(tmp_path):
    rows = [row for row in expected() if row.detailed == "relChooser"]
    published = [row._replace(false_option="front") for row in rows]
    assert [
        row.false_option for row in gqa.from_csv(gqa_folder.write_csv(tmp_path / "a.csv", published))
    ] == ["front"] * 3
    swapped = [row._replace(true_option=row.false_option, false_option=row.true_option) for row in rows]
    back = gqa.from_csv(gqa_folder.write_csv(tmp_path / "b.csv", swapped))
    assert [(row.true_option, row.false_option) for row in back] == [("left", "right")] * 3


def test_missing_columns_are_named(tmp_path):
    path = gqa_folder.write_csv(tmp_path / "a.csv", expected(), without=("img_id", "operations"))
    with pytest.raises(ValueError, match="got a.csv without img_id, operations; take the file"):
        gqa.from_csv(path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match="got empty.csv without question_id, img_id"):
        gqa.from_csv(tmp_path / "empty.csv")
    with pytest.raises(FileNotFoundError, match="found no .*b.csv; download them"):
        gqa.from_csv(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("positionQuery", "", "row 2 of a.csv has no type_detailed"),
        (
            "[{'operation': 'select', 'dependencies': [], 'argument': 'kettle (1)'}",
            "[{",
            "row 2 of a.csv has operations",
        ),
        ("'operation'", "'step'", "row 2 of a.csv has operations that are no list of steps"),
        ("00116", "00115", "row 2 of a.csv has question 00115, as row 1"),
    ],
)
def test_a_damaged_row_is_refused_with_its_number(tmp_path, old, new, words):
    rows = [row for row in expected() if row.detailed == "positionQuery"]
    path = gqa_folder.write_csv(tmp_path / "a.csv", rows)
    first, last = path.read_text().split("\n00116", 1)
    path.write_text(first + ("\n00116" + last).replace(old, new))
    with pytest.raises(ValueError, match="take the file as it was published") as error:
        gqa.from_csv(path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace("kettle", "caf\xe9").encode("latin-1"),
            "a.csv: 'utf-8' codec can't decode",
        ),
        (lambda text: text.encode("utf-16"), "a.csv: 'utf-8' codec can't decode"),
        (lambda text: text.replace("kettle", "k" * 200_000).encode(), "a.csv: field larger than field limit"),
    ],
)
def test_file_that_is_no_csv_in_utf_8_is_refused_by_its_name(tmp_path, change, words):
    rows = [row for row in expected() if row.detailed == "positionQuery"]
    path = gqa_folder.write_csv(tmp_path / "a.csv", rows)
    path.write_bytes(change(path.read_text()))
    with pytest.raises(ValueError, match=f"a file of samples is CSV in UTF-8, got {words}.*; take the file"):
        gqa.from_csv(path)
