"""Another download is another data set: fingerprints of files, tables and questions."""

import json
import zipfile

import pytest

from experiments.pid_llava.stages import questions
from pid import gqa
from pid.gqa.json_stream import entries
from tests.helpers import toy_llava
from tests.helpers.folders import gqa_folder


def rewrite(path, change):
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def change_answer(folder):
    rewrite(
        folder / "questions1.2" / "val_balanced_questions.json",
        lambda rows: rows["00100"].update(answer="hot"),  # of the same length or not, the file is another
    )


def change_image(folder):
    path = folder / "images" / gqa_image(folder)
    path.write_bytes(gqa_folder.jpeg(3))


def gqa_image(folder):
    rows = json.loads((folder / "questions1.2" / "val_balanced_questions.json").read_text())
    (name,) = {f"{row['imageId']}.jpg" for number, row in rows.items() if int(number) == 115}
    return name


def make_questions(tmp_path, download):
    config = toy_llava.tiny(tmp_path / "none", cache=tmp_path / "cache", data=download, tasks=("QueryAttr",))
    return questions.make_questions(config)[0]


@pytest.mark.parametrize("change", [change_answer, change_image])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_download_with_another_row_or_image_has_another_fingerprint(tmp_path, change, zipped):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        gqa_folder.write(folder)
    change(second)
    if zipped:
        first, second = (pack(folder, tmp_path / f"{folder.name}-zipped") for folder in (first, second))
    assert gqa.download_fingerprint(first) == gqa.download_fingerprint(first)
    assert gqa.download_fingerprint(first) != gqa.download_fingerprint(second)


def pack(folder, archives):
    """Write the two archives of a download, with the times of one moment."""
    archives.mkdir()
    for name, part in (("questions1.2.zip", "questions1.2"), ("images.zip", "images")):
        with zipfile.ZipFile(archives / name, "w") as archive:
            for path in sorted((folder / part).rglob("*.*")):
                archive.writestr(
                    zipfile.ZipInfo(str(path.relative_to(folder)), (2020, 1, 1, 0, 0, 0)), path.read_bytes()
                )
    return archives


def test_questions_of_another_download_are_not_those_in_the_cache(tmp_path):
    first = make_questions(tmp_path, gqa_folder.write(tmp_path / "a"))
    changed = gqa_folder.write(tmp_path / "b")
    rewrite(
        changed / "questions1.2" / "val_balanced_questions.json",
        lambda rows: [row.update(answer="above") for row in rows.values() if row["answer"] == "right"],
    )
    second = make_questions(tmp_path, changed)
    assert (first.answers[0], second.answers[0]) == ("right", "above")
    assert first.fingerprint != second.fingerprint


def test_an_image_that_changes_under_its_name_is_another_question(tmp_path):
    download = gqa_folder.write(tmp_path / "a")
    before = make_questions(tmp_path, download)
    change_image(download)
    after = make_questions(tmp_path, download)
    assert before.answers == after.answers
    assert before.fingerprint != after.fingerprint


def test_extracted_and_zipped_files_with_the_same_content_share_captures(tmp_path):
    extracted = make_questions(tmp_path, gqa_folder.write(tmp_path / "a"))
    zipped = make_questions(tmp_path, pack(tmp_path / "a", tmp_path / "b"))
    assert extracted.fingerprint == zipped.fingerprint


def test_the_tables_speak_in_no_words_of_the_library(tmp_path, capfd):
    make_questions(tmp_path, gqa_folder.write(tmp_path / "a"))
    output = capfd.readouterr()
    for word in ("Unknown size", "Downloading", "Shuffling", "splits/s", "absl"):
        assert word not in output.err + output.out
    left_behind = [path.name for path in (tmp_path / "cache").rglob("*") if "incomplete" in path.name]
    assert left_behind == []


def test_a_byte_order_mark_before_the_questions_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"1": {"x": 2}}', encoding="utf-8-sig")
    with path.open("rb") as file:
        assert list(entries(file, path.name)) == [("1", {"x": 2})]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_questions_in_another_encoding_are_refused_with_the_file(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text('{"1": {"x": 2}}', encoding=encoding)
    with path.open("rb") as file, pytest.raises(ValueError, match="a.json must be one JSON object"):
        list(entries(file, path.name))
