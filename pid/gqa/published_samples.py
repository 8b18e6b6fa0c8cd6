"""Reader of the samples that Zhang et al. publish, one CSV file per task."""

import ast
import csv
from os import PathLike
from pathlib import Path

from pid.gqa.question import AnswerOptions, Question, answer_options, program

COLUMNS = (
    "question_id",
    "img_id",
    "question",
    "answer",
    "type_detailed",
    "type_semantic",
    "type_structural",
    "operations",
)


def from_csv(path: str | Path) -> list[Question]:
    """Read the rows of one published file, in its order.

    The columns `true option`, `false option` and `full answer` are read if present; other columns are ignored.

    Args:
        path: a CSV file of one task.

    Returns:
        Questions, with `is_balanced` None and `mentions` empty, because the files lack them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: columns are missing, or a row is cut off, has no answer, has operations that are no list of steps,
            or has the id of an earlier row. Rows are counted from 1 below the header.

    Example:
        >>> from pid import gqa
        >>> gqa.from_csv("missing.csv")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        FileNotFoundError: the published samples are CSV files, found no missing.csv; ...

    Reference:
        Zhang et al., CVPR 2025, arXiv 2411.18620.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(
            f"a file of samples is a path, got {type(path).__name__}; pass the path of a CSV file."
        )
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"the published samples are CSV files, found no {path}; download them with the code of Zhang et al., or "
            "draw new ones from GQA with select."
        )
    try:
        return _read(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"a file of samples is CSV in UTF-8, got {path.name}: {error}; take the file as it was published."
        ) from error


def _read(path: Path) -> list[Question]:
    rows, numbers = [], {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
        if missing:
            raise ValueError(
                f"samples have the columns {', '.join(COLUMNS)}, got {path.name} without {', '.join(missing)}; "
                "take the file as it was published."
            )
        for number, line in enumerate(lines, start=1):
            if empty := [name for name in COLUMNS if not line[name]]:
                raise _damaged(path, number, f"no {', '.join(empty)}")
            row = _question(line, path, number)
            if row.question_id in numbers:
                raise _damaged(path, number, f"question {row.question_id}, as row {numbers[row.question_id]}")
            numbers[row.question_id] = number
            rows.append(row)
    return rows


def _question(line: dict[str, str], path: Path, number: int) -> Question:
    try:
        steps = ast.literal_eval(line["operations"])
        operations, derived = program(steps), answer_options(steps, line["answer"])
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, number, f"operations that are no list of steps ({error})") from None
    published = AnswerOptions(line.get("true option") or "", line.get("false option") or "")
    return Question(
        question_id=line["question_id"],
        image_id=line["img_id"],
        question=line["question"],
        answer=line["answer"],
        full_answer=line.get("full answer") or "",
        structural=line["type_structural"],
        semantic=line["type_semantic"],
        detailed=line["type_detailed"],
        operations=operations,
        is_balanced=None,
        **(published if published.true_option == line["answer"] else derived)._asdict(),
        mentions=(),
    )


def _damaged(path: Path, number: int, fault: str) -> ValueError:
    return ValueError(
        f"every row of a file of samples is one question: row {number} of {path.name} has {fault}; take the file as it "
        "was published."
    )
