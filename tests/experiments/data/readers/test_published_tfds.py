"""Folders that TFDS prepared: what is missing, cut, of another version or format is named with the remedy."""

import shutil

import pytest

from experiments.data.preparation import published_tfds
from experiments.data.preparation.published_tfds import open_published
from tests.experiments.data.readers.miniatures import published_rows, write_tfds

ROWS = {
    split: [{"text": f"{split} {i}", "label": i % 2} for i in range(count)]
    for split, count in (("train", 4), ("test", 2))
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_tfds(tmp_path_factory.mktemp("tfds"), "imdb_reviews", ROWS)


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of the prepared data set, to damage."""
    shutil.copytree(prepared, tmp_path / "tfds")
    return tmp_path / "tfds" / "imdb_reviews" / "plain_text" / "1.0.0"


def open_copy(tmp_path, splits=("train", "test"), inner="tfds"):
    return open_published("imdb_reviews", splits, data_dir=tmp_path / "data", manual_dir=tmp_path / inner)


def test_examples_are_those_that_tfds_wrote(tmp_path, folder):
    published = open_copy(tmp_path)
    rows = {split: [published[split][i] for i in range(len(published[split]))] for split in published}
    for split, expected in ROWS.items():
        contents = sorted(example["text"].decode() for example in rows[split])
        assert contents == sorted(example["text"] for example in expected)
    assert not (tmp_path / "data").exists()


def cut(folder):
    file = next(folder.glob("*train.array_record*"))
    file.write_bytes(file.read_bytes()[:-100])


def lose(folder):
    next(folder.glob("*test.array_record*")).unlink()


def damage(folder):
    description = folder / "dataset_info.json"
    description.write_text(description.read_text()[:40])


def convert(folder):
    description = folder / "dataset_info.json"
    description.write_text(description.read_text().replace('"array_record"', '"tfrecord"'))


def grow(folder):
    description = folder / "dataset_info.json"
    description.write_text(description.read_text().replace('"4"', '"5"'))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, "train.array_record-00000-of-00001 must have 4 examples, got 0"),
        (lose, "test.array_record-00000-of-00001 must have 2 examples, got 0"),
        (grow, "must have 5 examples, got 4"),
        (damage, "must have the description dataset_info.json that TFDS wrote, got damage"),
        (convert, "must be in array_record files, which are read without TensorFlow, got tfrecord"),
    ],
)
def test_damaged_files_are_named_with_what_to_run(tmp_path, folder, change, words):
    change(folder)
    with pytest.raises(ValueError, match=words) as error:
        open_copy(tmp_path)
    assert "tfds build imdb_reviews --file_format=array_record --data_dir=DIR" in str(error.value)


def test_a_split_that_was_not_prepared_is_named(tmp_path, folder):
    with pytest.raises(ValueError, match="must have the split unsupervised, got train, test"):
        open_copy(tmp_path, ("unsupervised",))


def test_another_version_is_named(tmp_path, folder):
    folder.rename(folder.with_name("0.9.0"))
    with pytest.raises(FileNotFoundError, match=r"1.0.0, which is not there, but another version in .*0.9.0"):
        open_copy(tmp_path)


def test_the_folder_above_or_below_is_named(tmp_path, folder):
    with pytest.raises(
        FileNotFoundError, match=r"is not there, but in .*tfds; pass .*tfds as the manual folder"
    ):
        open_copy(tmp_path, inner="")
    with pytest.raises(FileNotFoundError, match="which is not there; run `tfds build imdb_reviews"):
        open_copy(tmp_path, inner="nowhere")


def test_a_preparation_that_was_ended_is_named(tmp_path, folder):
    folder.rename(folder.with_name("incomplete.ABC_1.0.0"))
    (folder.with_name("incomplete.ABC_1.0.0") / "dataset_info.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not complete, because its preparation was ended"):
        open_copy(tmp_path)


def test_a_download_that_fails_is_named_with_what_to_run(tmp_path, monkeypatch):
    def fail(builder, manual_dir):
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(published_tfds, "DOWNLOAD_PACKAGES", ())
    monkeypatch.setattr(published_tfds, "prepare_files", fail)
    with pytest.raises(ValueError, match=r"failed \(ConnectionError: no network\); run `tfds build cifar10"):
        open_published("cifar10", ("train",), data_dir=tmp_path, manual_dir=None)


def test_without_the_packages_of_a_download_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(published_tfds, "DOWNLOAD_PACKAGES", ("numpy", "a_package_of_no_one"))
    monkeypatch.setattr(published_tfds, "prepare_files", None)
    with pytest.raises(
        ValueError, match=r"got no a_package_of_no_one; install them and run `tfds build cifar10"
    ):
        open_published("cifar10", ("train",), data_dir=tmp_path, manual_dir=None)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_stored_in_the_data_folder_once(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(published_tfds, "DOWNLOAD_PACKAGES", ())
    with published_rows("imdb_reviews", ROWS):
        first = open_published("imdb_reviews", ("train",), data_dir=tmp_path, manual_dir=None)
    assert "downloading imdb_reviews by TFDS into" in capfd.readouterr().err
    again = open_published("imdb_reviews", ("train",), data_dir=tmp_path, manual_dir=None)
    assert len(first["train"]) == len(again["train"]) == 4
    assert capfd.readouterr().err == ""
    assert (tmp_path / "tfds" / "imdb_reviews" / "plain_text" / "1.0.0").is_dir()
