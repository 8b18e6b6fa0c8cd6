"""Published files as they come: marks, blank ends, other encodings, other content, too long, the first rows."""

import bz2
import dataclasses
import gzip
import zipfile

import numpy as np
import pytest

from experiments import lra
from experiments.data import listops
from experiments.data.listops.listops_options import Release
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.preparation.file_hashes import FileHashes
from experiments.lra import program
from tests.experiments.data.readers.official_layout import write_listops

ROWS = ["[MAX 1 2 ]\t2", "( ( [SM 9 ) [MIN 3 4 ] ] )\t2", "7\t7"]
TEXT = "\n".join(["Source\tTarget", *ROWS]) + "\n"
TOKENS = [("[MAX", "1", "2", "]"), ("[SM", "9", "[MIN", "3", "4", "]", "]"), ("7",)]


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode("utf-8-sig"),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n \n\t\n".encode(),
        TEXT.rstrip("\n").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        f"{TEXT}\n".replace("\n", "\r\n").encode("utf-8-sig"),
    ],
)
def test_marks_blank_ends_and_line_ends_are_read(tmp_path, content):
    path = tmp_path / "basic_val.tsv"
    path.write_bytes(content)
    assert [tokens for tokens, _ in listops.read_tsv(path, rows=3)] == TOKENS


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("basic_val.tsv", TEXT)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(TEXT.encode("utf-16")), "is UTF-16; save it as UTF-8"),
        (lambda path: path.write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be")), "is UTF-16"),
        (lambda path: path.write_bytes(gzip.compress(TEXT.encode())), "gzip; extract it"),
        (lambda path: path.write_bytes(bz2.compress(TEXT.encode())), "bzip2; extract it"),
        (zipped, "zip archive; extract it"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes(TEXT.encode() + b"\xff\t1\n"), "byte 0xff"),
        (lambda path: path.write_text(""), "the header of basic_val.tsv is ''"),
        (lambda path: path.write_text(TEXT.replace("\n7", "\n\n7")), "row 3 of basic_val.tsv"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path, write, words):
    path = tmp_path / "basic_val.tsv"
    write(path)
    with pytest.raises(ValueError, match="ListOps file") as error:
        list(listops.read_tsv(path, rows=3))
    assert words in str(error.value)
    assert "basic_val.tsv" in str(error.value)
    assert "or generate the data" in str(error.value)


@pytest.mark.parametrize(("rows", "words"), [(2, None), (3, None), (4, "has 3 rows, expected 4 or more")])
def test_the_first_rows_of_a_file_can_be_read_alone(tmp_path, rows, words):
    path = tmp_path / "basic_val.tsv"
    path.write_text(TEXT)
    pairs = listops.read_tsv(path, rows=rows, exact=False)
    if words is None:
        assert [tokens for tokens, _ in pairs] == TOKENS[:rows]
        return
    with pytest.raises(ValueError, match=words):
        list(pairs)


def config(tmp_path, manual, **changes):
    quick = lra.PRESETS["quick"][1]
    changes = {"source": "lra_release", "release": Release(6, 4, 4), "batch": 2} | changes
    return dataclasses.replace(quick, manual_dir=manual, data_dir=tmp_path / "data", **changes)


def test_other_files_under_the_same_sizes_are_other_data(tmp_path):
    first = program.prepare(config(tmp_path, write_listops(tmp_path / "a", seed=0)))
    second = program.prepare(config(tmp_path, write_listops(tmp_path / "b", seed=1)))
    assert first["train"].sha256 != second["train"].sha256
    assert not np.array_equal(first["train"].tokens, second["train"].tokens)
    moved = write_listops(tmp_path / "c", seed=0)
    assert program.prepare(config(tmp_path, moved))["train"].sha256 == first["train"].sha256
    assert len([path for path in (tmp_path / "data" / "arrays").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_changed_row_of_any_file_is_other_data(tmp_path, split):
    hashes = FileHashes(tmp_path)
    folder = write_listops(tmp_path / "a")
    before = listops.content_hash(folder, hashes)
    path = folder / f"basic_{split}.tsv"
    path.write_text(path.read_text().rstrip("\n") + "\n7\t7\n")
    assert listops.content_hash(folder, hashes) != before


def test_rows_that_are_too_long_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    folder = write_listops(tmp_path / "a")
    quick = config(tmp_path, folder)
    monkeypatch.setattr(listops.ListOps, "download_and_prepare", None)
    short = dataclasses.replace(quick, model=dataclasses.replace(quick.model, max_len=8))
    with pytest.raises(ValueError, match=r"row \d+ of basic_train.tsv for max_len=8; raise model.max_len"):
        program.prepare(short)
    assert not (tmp_path / "data" / "arrays").exists()


def test_only_the_rows_that_are_used_have_to_fit(tmp_path):
    folder = write_listops(tmp_path / "a")
    path = folder / "basic_test.tsv"
    path.write_text(path.read_text() + f"[MAX {' '.join('1' * 90)} ]\t1\n")
    assert len(program.prepare(config(tmp_path, folder))["test"].labels) == 4


def test_a_missing_file_is_named_and_the_folder_that_has_it(tmp_path):
    write_listops(tmp_path / "lra" / "listops-1000")
    with pytest.raises(FileNotFoundError, match=r"no file basic_train.tsv; pass .*listops-1000, or generate"):
        program.prepare(config(tmp_path, tmp_path / "lra"))
    archive = tmp_path / "lra_release.gz"
    archive.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="which is a file and no folder; extract listops-1000"):
        program.prepare(config(tmp_path, archive))
    (tmp_path / "lra" / "listops-1000" / "basic_val.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="no file basic_val.tsv; extract"):
        program.prepare(config(tmp_path, tmp_path / "lra" / "listops-1000"))
    assert not (tmp_path / "data" / "arrays").exists()


@pytest.mark.parametrize("sizes", [(0, 1, 1), (96_001, 1, 1), (1, 2_001, 1), (1, 1, -1)])
def test_sizes_that_the_release_does_not_have_are_refused(sizes):
    with pytest.raises(
        ValueError, match=r"the published file of \w+ has [\d,]+ rows, got release\.\w+=.*; take 1 to"
    ):
        Release(*sizes)


def test_all_rows_of_the_release_are_the_default(tmp_path):
    data = config(tmp_path, tmp_path, release=Release()).data()
    assert isinstance(data, ListOpsData)
    assert data.config is listops.RELEASE
    assert config(tmp_path, tmp_path).data().sizes() == {"train": 6, "val": 4, "test": 4}
