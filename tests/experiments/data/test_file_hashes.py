"""Hashes of files: read once, read again after a change; zeroed bytes in prepared arrays are detected."""

import hashlib
import os

import numpy as np
import pytest

from experiments.data import arrays
from experiments.data.preparation import file_hashes
from experiments.data.preparation.file_hashes import FileHashes
from tests.experiments.data.test_arrays import arrays_folder, toy


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read for their hash."""
    names, read = [], file_hashes.sha256
    monkeypatch.setattr(file_hashes, "sha256", lambda path: names.append(path.name) or read(path))
    return names


def test_a_file_is_read_once_and_again_after_a_change(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    assert [FileHashes(tmp_path).sha256(path) for _ in range(3)] == [one] * 3
    assert reads == ["a"]
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert FileHashes(tmp_path).sha256(path) == two
    os.utime(
        path, ns=(status.st_atime_ns, status.st_mtime_ns)
    )  # the time of before is another one than the last
    assert FileHashes(tmp_path).sha256(path) == two
    assert reads == ["a"] * 3


def test_a_change_that_keeps_size_and_time_is_detected_on_request(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    hashes, status = FileHashes(tmp_path), path.stat()
    digest = hashes.sha256(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashes.sha256(path) == digest
    assert hashes.sha256(path, again=True) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 1}', b"\xff"])
def test_damaged_hashes_are_as_good_as_none(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    FileHashes(tmp_path).sha256(path)
    (saved,) = tmp_path.glob("hashes-*.json")
    saved.write_bytes(content)
    assert FileHashes(tmp_path).sha256(path) == hashlib.sha256(b"one").hexdigest()


def zero(path):
    content = bytearray(path.read_bytes())
    content[-8:] = bytes(8)
    path.write_bytes(content)


def flip_label(path):
    labels = np.load(path)
    labels[0] ^= 1
    np.save(path, labels)


def swap_rows(path):
    tokens = np.load(path)
    np.save(path, tokens[::-1])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.x.npy", zero),
        ("test.x.npy", zero),
        ("train.length.npy", zero),
        ("test.y.npy", flip_label),
        ("train.x.npy", swap_rows),
    ],
)
def test_bytes_that_change_in_prepared_arrays_are_refused_at_the_next_start(tmp_path, name, damage):
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    damage(arrays_folder(tmp_path) / name)
    for _ in range(2):
        with pytest.raises(ValueError, match="has SHA-256.*delete its folder to prepare them again") as error:
            arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
        assert name in str(error.value)


def test_the_second_start_reads_no_array_for_its_hash(tmp_path, reads):
    for _ in range(2):
        arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)
    assert len(reads) == 6
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path, verify=True)
    assert len(reads) == 12


def test_the_hash_of_a_split_depends_on_its_rows_alone(tmp_path):
    first = arrays.prepare(toy(tmp_path / "a"), max_len=6, data_dir=tmp_path / "a")
    second = arrays.prepare(toy(tmp_path / "b"), max_len=6, data_dir=tmp_path / "b")
    assert first["train"].sha256 == second["train"].sha256 != first["test"].sha256
    assert len(first["train"].sha256) == 64


def test_prepared_arrays_without_write_permission_are_read(tmp_path, monkeypatch):
    arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)

    def refuse(path, content):
        raise PermissionError(path)

    monkeypatch.setattr(file_hashes, "write_atomically", refuse)
    for path in tmp_path.glob("hashes-*.json"):
        path.unlink()
    assert len(arrays.prepare(toy(tmp_path), max_len=6, data_dir=tmp_path)["train"].labels) == 7
