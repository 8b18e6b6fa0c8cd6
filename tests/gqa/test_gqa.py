"""GQA: built and read back from a synthetic download, damage refused by name, tasks by type, draws by seed, bits."""

import io
import itertools
import json
import math
import random
import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pid import gqa
from pid.gqa import json_stream
from pid.gqa.question import parse, program
from tests.helpers import gqa_folder

VAL = "questions1.2/val_balanced_questions.json"


def build(download, data, config=gqa.QUESTIONS):
    builder = gqa.GQA(config=config, data_dir=data, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(download)))
    return builder


def expected(split="val"):
    return [parse(name, entry) for name, entry in gqa_folder.questions(split).items()]


def made(count, *, task="QueryAttr", answer="left", detailed=None):
    row = parse("0", gqa_folder.entry(task, 0, "1"))
    return [
        row._replace(question_id=f"{i:03}", answer=answer, detailed=detailed or row.detailed)
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    return gqa_folder.write(tmp_path_factory.mktemp("gqa"))


@pytest.fixture(scope="module")
def built(download, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    return build(download, data), build(download, data, gqa.IMAGES)


def test_every_question_comes_back_as_it_was(built):
    rows = sorted(gqa.questions(built[0], "val"))
    assert rows == expected()
    row = next(row for row in rows if row.detailed == "relChooser")
    assert row._asdict() == {
        "question_id": "00106",
        "image_id": "1002",
        "question": "Is the robot to the left or to the right of tower 0?",
        "answer": "left",
        "full_answer": "It is left.",
        "structural": "choose",
        "semantic": "rel",
        "detailed": "relChooser",
        "operations": "select: kettle (0)->choose rel: robot,to the left of|to the right of,s (90) [0]",
        "is_balanced": True,
        "true_option": "left",
        "false_option": "right",
        "mentions": (gqa.Mention("question", "1:3", "40"), gqa.Mention("full_answer", "2", "50")),
    }


def test_any_row_is_read_without_the_others(built):
    source = built[0].as_data_source("val")
    rows = list(gqa.questions(built[0], "val"))
    assert source[17]["question_id"].decode() == rows[17].question_id
    assert len(source) == 24


def test_an_image_is_found_by_its_id_and_the_file_is_left_as_it_was(built):
    images = gqa.Images(built[1], "val")
    assert list(images) == ["1000", "1001", "1002", "1003", "1004"]
    assert {row.image_id for row in expected()} == set(images)
    for number, image_id in enumerate(images):
        assert images.jpeg(image_id) == gqa_folder.jpeg(number, "L" if number == 4 else "RGB")
        assert images[image_id].shape == (6, 8, 3)
        assert abs(int(images[image_id][0, 0, 0]) - 40 * number) <= 2  # JPEG rounds
    np.testing.assert_array_equal(images["1004"][..., 0], images["1004"][..., 2])
    assert images["1003"][..., 2].max() <= 2


def test_a_prepared_set_is_read_by_a_new_builder_without_the_download(built):
    data = built[0].data_dir.split("/gqa/")[0]
    builders = [gqa.GQA(config=config, data_dir=data) for config in (gqa.QUESTIONS, gqa.IMAGES)]
    assert sorted(gqa.questions(builders[0], "val")) == expected()
    assert gqa.Images(builders[1], "val").jpeg("1002") == gqa_folder.jpeg(2)


def test_a_table_is_read_only_from_its_builder_and_once_it_is_prepared(built, tmp_path):
    with pytest.raises(
        ValueError, match="images with the split 'val', got questions-balanced-val with .'val'."
    ):
        gqa.Images(built[0], "val")
    with pytest.raises(ValueError, match="questions with the split 'val', got images-balanced-val"):
        gqa.questions(built[1], "val")
    with pytest.raises(ValueError, match=r"take GQAConfig\(table='images', splits=\('train',\)\)"):
        gqa.Images(built[1], "train")
    with pytest.raises(ValueError, match="with nothing prepared; .* call download_and_prepare"):
        gqa.questions(gqa.GQA(data_dir=tmp_path), "val")


def test_archives_serve_as_well_as_folders_for_every_split(tmp_path):
    place = gqa_folder.write(tmp_path, zipped=True)
    config = gqa.GQAConfig(splits=("testdev", "val", "train"))
    builder = build(place, tmp_path / "data", config)
    for split in gqa_folder.SPLITS:
        assert sorted(gqa.questions(builder, split)) == expected(split)
    images = gqa.Images(build(place, tmp_path / "data", gqa.IMAGES), "val")
    assert images.jpeg("1003") == gqa_folder.jpeg(3)


def test_all_questions_of_train_are_ten_files_and_only_tasks_leaves_the_others_out(download, tmp_path):
    config = gqa.GQAConfig(part="all", splits=("train",), only_tasks=True)
    rows = sorted(gqa.questions(build(download, tmp_path, config), "train"))
    assert rows == [row for row in expected("train") if gqa.task_of(row)]
    assert len(rows) == 18


def test_it_is_built_and_read_without_tensorflow(download, tmp_path):
    code = f"""
import sys
from tests.gqa.test_gqa import build, gqa
rows = list(gqa.questions(build({str(download)!r}, {str(tmp_path)!r}), "val"))
images = gqa.Images(build({str(download)!r}, {str(tmp_path)!r}, gqa.IMAGES), "val")
print(len(rows), images["1000"].shape, "tensorflow" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[-2] == "24 (6, 8, 3) False"


def test_sets_that_differ_have_names_that_differ():
    parts = itertools.product(
        ("questions", "images"), ("balanced", "all"), (True, False), [("val",), ("train", "val")]
    )
    names = [gqa.GQAConfig(table=t, part=p, only_tasks=o, splits=s).name for t, p, o, s in parts]
    assert len(set(names)) == 16
    assert gqa.GQA(config="images-balanced-val").builder_config is gqa.IMAGES
    assert gqa.GQA(config=gqa.GQAConfig()).builder_config is gqa.QUESTIONS


@pytest.mark.parametrize(
    "change", [{"table": "graphs"}, {"part": "some"}, {"splits": ()}, {"splits": ("test",)}]
)
def test_a_configuration_that_makes_no_set_is_refused(change):
    with pytest.raises(
        ValueError, match="splits among train, val, testdev, got .*; correct the configuration"
    ):
        gqa.GQAConfig(**change)


def edit(path, change):
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def cut_bytes(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (
            lambda place: (place / VAL).unlink(),
            FileNotFoundError,
            "needs the file val_balanced_questions.json, found in neither questions1.2/ nor ./ nor questions1.2.zip",
        ),
        (
            lambda place: (place / VAL).write_text('{"00100": {"answer": }}'),
            ValueError,
            "val_balanced_questions.json must be one JSON object, and at character 21 is not",
        ),
        (
            lambda place: edit(place / VAL, lambda rows: rows["00107"].pop("answer")),
            ValueError,
            "got none of answer in question 00107",
        ),
        (
            lambda place: edit(place / VAL, lambda rows: rows["00107"]["types"].pop("detailed")),
            ValueError,
            "got none of types.detailed in question 00107",
        ),
    ],
)  # fmt: skip
def test_a_damaged_download_is_refused_with_the_place_of_the_damage(tmp_path, damage, error, words):
    damage(gqa_folder.write(tmp_path))
    with pytest.raises(error, match="download") as caught:
        build(tmp_path, tmp_path / "data")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (
            lambda image: image.unlink(),
            FileNotFoundError,
            "1002.jpg of question 00101 is in neither images/ nor images.zip (1 of 5 images are missing)",
        ),
        (
            lambda image: image.write_bytes(b""),
            ValueError,
            "1002.jpg of question 00101 with 0 bytes",
        ),
        (
            lambda image: image.write_bytes(b"<html>"),
            ValueError,
            "with 6 bytes that begin b'<htm'",
        ),
    ],
)  # fmt: skip
def test_an_image_that_is_not_there_is_named_with_its_question(tmp_path, damage, error, words):
    damage(gqa_folder.write(tmp_path) / "images" / "1002.jpg")
    with pytest.raises(error, match="download images.zip again") as caught:
        build(tmp_path, tmp_path / "data", gqa.IMAGES)
    assert words in str(caught.value)


def test_an_archive_cut_off_is_refused(tmp_path):
    cut_bytes(gqa_folder.write(tmp_path, zipped=True) / "questions1.2.zip", 1000)
    with pytest.raises(ValueError, match="questions1.2.zip must be a whole zip archive"):
        build(tmp_path, tmp_path / "data")


def test_an_archive_with_a_rotten_member_is_refused_with_the_member(tmp_path):
    path = gqa_folder.write(tmp_path, zipped=True) / "questions1.2.zip"
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("val_balanced_questions.json").header_offset + 200
    data = bytearray(path.read_bytes())
    data[at : at + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="val_balanced_questions.json must be one JSON object"):
        build(tmp_path, tmp_path / "data")


def read(text, encoding="utf-8"):
    return list(json_stream.entries(io.BytesIO(text.encode(encoding)), "a.json"))


@pytest.mark.parametrize("window", [1, 2, 7, 1 << 20])
def test_entries_are_those_of_the_whole_object_whatever_the_window(window, monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    rows = {"a": {"b": [1, "}, {é"]}, 'c"\\': {}, "ß": {"d": None}}
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False) + "\n"):
        assert read(text) == list(rows.items())
    assert read(" {\n} ") == []
    assert read('{"a": {}, "a": {}}') == [("a", {}), ("a", {})]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "character 0 is not: { expected, got the end"),
        ("[]", "character 0 is not: { expected, got ["),
        ('{"a": {}', "character 8 is not: , or } expected, got the end"),
        ('{"a": {} "b": {}}', 'character 9 is not: , or } expected, got "'),
        ('{"a" {}}', "character 5 is not: : expected, got {"),
        ('{"a": {"b": }}', "character 12 is not: Expecting value"),
        ('{"a": {}, 3: {}}', "character 10 is not: a text expected, got 3"),
        ('{"a": {}} {', "character 10 is not: it ends, but '{' follows"),
        ('{"a": {}, }', "character 10 is not: Expecting value"),
    ],
)
def test_broken_json_is_refused_with_the_file_and_the_position(text, words, monkeypatch):
    for window in (3, 1 << 20):
        monkeypatch.setattr(json_stream, "WINDOW", window)
        with pytest.raises(
            ValueError, match="^a.json must be one JSON object.*download or extract it again"
        ) as error:
            read(text)
        assert words in str(error.value)


def test_text_in_another_encoding_is_refused():
    with pytest.raises(ValueError, match="character 0 is not: it cannot be read further"):
        read('{"é": {}}', "latin-1")
    with pytest.raises(ValueError, match="character 9 is not: it cannot be read further"):
        read('{"a": {}}é', "latin-1")


def test_a_broken_value_does_not_pull_the_rest_of_the_file_into_memory(monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", 10)
    monkeypatch.setattr(json_stream, "LONGEST", 100)
    file = io.BytesIO(b'{"a": {"b": x ' + b" " * 10_000)
    with pytest.raises(ValueError, match="character 12"):
        list(json_stream.entries(file, "a.json"))
    assert file.tell() < 200


def test_tasks_are_counted_by_their_types():
    counts = Counter(gqa.task_of(row) for row in expected())
    assert counts == dict.fromkeys(gqa.TASKS, 3) | {None: 6}


def test_the_tasks_share_no_question():
    keys = [(t.structural, t.semantic, detailed) for t in gqa.TASKS.values() for detailed in t.detailed]
    assert len(keys) == len(set(keys)) == 12


@pytest.mark.parametrize(
    ("step", "answer", "found"),
    [
        (("choose", "empty|full"), "empty", ("empty", "full")),
        (("choose color", "red|short sleeved"), "short sleeved", ("short sleeved", "red")),
        (("choose rel", "cup,to the left of|to the right of,s (1)"), "right", ("right", "left")),
        (("choose rel", "cup,behind|in front of,s (1)"), "front", ("front", "behind")),
        (("choose rel", "man,holding|wearing,o (1)"), "holding", ("holding", "wearing")),
        (("choose", "a|b|c"), "a", ("", "")),
        (("choose", "a|b"), "c", ("", "")),
        (("choose", "a|a"), "a", ("", "")),
        (("choose", "a"), "a", ("", "")),
        (("query", "a|b"), "a", ("", "")),
    ],
)
def test_options_come_from_the_last_step(step, answer, found):
    entry = gqa_folder.entry("ChooseAttr", 0, "1")
    entry["semantic"][-1] |= dict(zip(("operation", "argument"), step, strict=True))
    row = parse("1", entry | {"answer": answer})
    assert (row.true_option, row.false_option) == found


def test_the_program_is_written_as_gqa_writes_it():
    entry = gqa_folder.entry("ChooseRel", 7, "1")
    assert parse("1", entry).operations == entry["semanticStr"]
    steps = [{"operation": name, "dependencies": [], "argument": "a (1)"} for name in ("select", "select")]
    steps.append({"operation": "or", "dependencies": [0, 1], "argument": ""})
    assert program(steps) == "select: a (1)->select: a (1)->or:  [0, 1]"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([], "an object, got list in question 01"),
        ({"answer": 3}, "got TypeError('3 for a text')"),
        ({"semantic": [{}]}, "got KeyError"),
        ({"types": None}, "got TypeError"),
        ({"annotations": []}, "got AttributeError"),
    ],
)
def test_a_question_of_another_shape_is_refused_with_its_id(entry, words):
    if isinstance(entry, dict):
        entry = gqa_folder.entry("QueryAttr", 0, "1") | entry
    with pytest.raises(ValueError, match="in question 01") as error:
        parse("01", entry)
    assert words in str(error.value)


def test_a_question_without_annotations_mentions_nothing():
    entry = gqa_folder.entry("QueryAttr", 0, "1")
    del entry["annotations"]
    assert parse("1", entry).mentions == ()


def ids(rows):
    return [row.question_id for row in rows]


def test_a_draw_depends_on_the_seed_and_not_on_order_or_company():
    rows = made(50)
    drawn = gqa.select(rows, "QueryAttr", limit=10, seed=0)
    shuffled = random.Random(1).sample([*rows, *expected()[:15]], 65)  # the others are of five other tasks
    assert ids(gqa.select(iter(shuffled), "QueryAttr", limit=10, seed=0)) == ids(drawn)
    assert len(set(ids(drawn))) == 10
    assert set(ids(gqa.select(rows, "QueryAttr", limit=10, seed=1))) != set(ids(drawn))


def test_a_smaller_draw_is_the_beginning_of_a_larger_one_and_none_is_all():
    rows = made(50)
    everything = ids(gqa.select(rows, "QueryAttr", limit=None, seed=3))
    assert sorted(everything) == ids(rows)
    assert everything != ids(rows)
    for limit in (1, 10, 50, 1000):
        assert ids(gqa.select(rows, "QueryAttr", limit=limit, seed=3)) == everything[:limit]


def test_the_draw_of_a_seed_never_changes():
    """Written out, because a draw that changes makes every stored activation that of another question."""
    assert ids(gqa.select(made(10), "QueryAttr", limit=4, seed=0)) == ["005", "007", "008", "004"]


def test_every_row_is_drawn_equally_often():
    rows, draws = made(20), 800
    counts = Counter(
        i for seed in range(draws) for i in ids(gqa.select(rows, "QueryAttr", limit=5, seed=seed))
    )
    spread = math.sqrt(draws * 0.25 * 0.75)
    assert max(abs(counts[row.question_id] - draws * 0.25) for row in rows) < 4 * spread


def test_only_what_the_model_answered_correctly_is_drawn():
    rows = made(6)
    said = dict(zip(ids(rows), ("left", " Left\n", "LEFT", "right", "left.", "the left"), strict=True))
    drawn = gqa.select(rows, "QueryAttr", correct=said, seed=0)
    assert sorted(ids(drawn)) == ["000", "001", "002"]
    by_rule = gqa.select(
        rows, "QueryAttr", correct=lambda row: gqa.is_correct(said[row.question_id], row), seed=0
    )
    assert by_rule == drawn
    assert gqa.select(rows, "QueryAttr", correct=dict.fromkeys(said, "no"), seed=0) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "ChooseColour"}, "a task is one of ChooseAttr, ChooseCat, .*got 'ChooseColour'"),
        ({"limit": 0}, "at least one row, got limit=0; None takes all"),
        ({"correct": {"000": "left"}}, "got none to 001; ask the model"),
        ({"rows": made(3) + made(1)}, "drawn once, got 000 twice"),
    ],
)
def test_a_draw_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        gqa.select(**{"rows": made(3), "task": "QueryAttr", "seed": 0, **arguments})


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
    given = [row._replace(false_option="front") for row in rows]
    assert [row.false_option for row in gqa.from_csv(gqa_folder.write_csv(tmp_path / "a.csv", given))] == [
        "front"
    ] * 3
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
    ("answers", "bits"),
    [
        ([], 0),
        (["a"] * 5, 0),
        (["a", "b"] * 3, 1),
        (["a", "b", "c", "d"], 2),
        (["a"] * 2 + ["b", "c"], 1.5),
        (["color"] * 510 + ["material"] * 60, 0.4855),  # the published CompareAttr
        (
            ["right"] * 486 + ["left"] * 451 + ["front"] * 16 + ["behind"] * 11,
            1.1826,
        ),  # the published ChooseRel
    ],
)
def test_the_entropy_is_that_of_the_shares(answers, bits):
    assert gqa.entropy(answers) == pytest.approx(bits, abs=1e-4)


def test_a_skewed_task_is_told_with_its_bits():
    rows = made(510, task="CompareAttr", answer="color") + made(60, task="CompareAttr", answer="material")
    bits, skew = gqa.doubts(rows)
    assert bits.startswith("CompareAttr: 2 different answers in 570 rows, H(Y) = 0.49 bits")
    assert skew.startswith("CompareAttr: 89% of the answers are 'color'")


def test_a_type_that_determines_the_answer_is_told():
    either = made(545, task="LogicalObj", answer="yes"), made(446, task="LogicalObj", answer="no")
    split = either[0] + [row._replace(detailed="existThatOrC") for row in either[1]]
    bits, shortcut = gqa.doubts(split)
    assert "H(Y) = 0.99 bits" in bits
    assert "(existThatOr is always 'yes', existThatOrC is always 'no')" in shortcut
    assert len(gqa.doubts(either[0] + either[1])) == 1  # one type with both answers
    assert len(gqa.doubts([*split, split[0]._replace(answer="no")])) == 1
    third = made(2, task="ChooseAttr", answer="a", detailed="chooseAttr")
    mixed = [made(2, task="ChooseAttr", answer=a, detailed="typeChoose") for a in "bc"]
    others = made(2, task="ChooseAttr", answer="d", detailed="materialChoose")
    assert len(gqa.doubts([*third, *others, *mixed[0], *mixed[1]])) == 1  # the answer to a typeChoose is open
    assert not [
        line for line in gqa.doubts(third) if "determines" in line
    ]  # one answer has nothing to determine


def test_each_task_has_its_own_sentences_and_none_has_none():
    told = gqa.doubts(expected())
    assert [line.split(":")[0] for line in told if "H(Y)" in line] == [*sorted(gqa.TASKS), "no task"]
    assert gqa.doubts([]) == ()
