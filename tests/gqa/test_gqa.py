"""GQA: building and reading a synthetic download, errors that name the damage."""

import itertools
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from pid import gqa
from tests.helpers.folders import gqa_folder
from tests.helpers.folders.gqa_folder import build, expected

VAL = "questions1.2/val_balanced_questions.json"


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


def test_a_photograph_is_upright_and_a_damaged_one_is_named(tmp_path):
    root = gqa_folder.write(tmp_path)
    photograph, damaged = (root / "images" / f"{name}.jpg" for name in ("1001", "1002"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photograph).save(photograph, exif=exif)
    damaged.write_bytes(damaged.read_bytes()[:300])
    images = gqa.Images(build(root, tmp_path / "data", gqa.IMAGES), "val")
    assert images["1001"].shape == (8, 6, 3)  # stored as 6 × 8
    with pytest.raises(ValueError, match="got 1002.jpg of 300 bytes: .*; download images.zip again"):
        images["1002"]


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
    root = gqa_folder.write(tmp_path, zipped=True)
    config = gqa.GQAConfig(splits=("testdev", "val", "train"))
    builder = build(root, tmp_path / "data", config)
    for split in gqa_folder.SPLITS:
        assert sorted(gqa.questions(builder, split)) == expected(split)
    images = gqa.Images(build(root, tmp_path / "data", gqa.IMAGES), "val")
    assert images.jpeg("1003") == gqa_folder.jpeg(3)


def test_all_questions_of_train_are_ten_files_and_only_tasks_leaves_the_others_out(download, tmp_path):
    config = gqa.GQAConfig(part="all", splits=("train",), only_tasks=True)
    rows = sorted(gqa.questions(build(download, tmp_path, config), "train"))
    assert rows == [row for row in expected("train") if gqa.task_of(row)]
    assert len(rows) == 18


def test_it_is_built_and_read_without_tensorflow(download, tmp_path):
    code = f"""
import sys
from tests.helpers.folders.gqa_folder import build, gqa
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
        (
            lambda place: edit(place / VAL, lambda rows: rows["00107"].update(isBalanced="false")),
            ValueError,
            "got TypeError(\"'false' for true or false\") in question 00107",
        ),
        (
            lambda place: (place / VAL).write_text((place / VAL).read_text().replace('"00107"', '"00100"')),
            ValueError,
            "a question has an id of its own, got 00100 twice in gqa",
        ),
        (
            lambda place: (place / VAL).write_text("{}"),
            ValueError,
            "a table has at least one question, got 0 questions in val_balanced_questions.json",
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
