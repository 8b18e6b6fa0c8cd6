"""What stays of a start that is refused: nothing. What is refused: sizes above the memory, and damaged run folders."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from experiments import run
from experiments.run.folder.atomic_files import read_arrays, read_json
from experiments.run.folder.metrics_log import MetricsLog
from pid.interface import memory_check
from tests.helpers import tiny_program


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of an array."""

    rows: int = 10
    widths: tuple[int, ...] = (4, 20)
    depth: int | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of a program."""

    out: Path | None = None
    resume: bool = False
    data: Sizes = Sizes()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refuse(folder):
    with pytest.raises(ValueError, match="too late"), run.open_run(folder, Config()):
        raise ValueError("too late")


def test_a_numbered_folder_of_a_refused_start_is_deleted_with_the_folders_around_it(here):
    refuse(run.next_folder(Path("runs/lra"), "quick"))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "data"), False),
        (OSError(errno.ENOSPC, "No space left on device", "data"), True),
        (RuntimeError("a bug"), True),
    ],
)
def test_what_only_the_user_can_change_leaves_nothing_and_a_full_disk_a_run(error, stays, here):
    def refuse():
        with run.open_run(here / "run", Config()):
            raise error

    with pytest.raises(type(error)):
        refuse()
    assert (here / "run" / "config.json").exists() is stays
    assert (here / "run").exists() is stays


def test_folders_with_other_files_and_those_of_the_user_stay(here):
    (here / "runs/lra/quick-001").mkdir(parents=True)
    refuse(run.next_folder(Path("runs/lra"), "quick"))
    assert [path.name for path in (here / "runs/lra").iterdir()] == ["quick-001"]
    refuse(here / "runs/lra/quick-001")
    assert list((here / "runs/lra").rglob("*")) == [here / "runs/lra/quick-001"]


def test_a_start_that_has_computed_stays(here):
    started = run.open_run(run.next_folder(Path("runs/lra"), "quick"), Config())
    started.record_start()
    with pytest.raises(ValueError, match="late"), started:
        raise ValueError("late")
    assert (here / "runs/lra/quick-001/config.json").exists()


@pytest.mark.parametrize(("memory", "fits"), [(8 * 10 * 20, True), (8 * 10 * 20 - 1, False)])
def test_the_largest_product_of_the_options_must_fit(memory, fits, monkeypatch):
    monkeypatch.setattr(memory_check, "memory_bytes", lambda: memory)
    arrays = {("data.rows", "data.widths", "data.depth"): 8}
    if fits:
        run.check_memory(Config(), arrays)
    else:
        with pytest.raises(
            ValueError, match=r"data.rows=10, data.widths=20.*lower --data.rows or --data.widths"
        ):
            run.check_memory(Config(), arrays)
        run.check_memory(Config(), arrays, share=2)


def test_the_memory_is_that_of_the_machine():
    assert 2**27 < memory_check.memory_bytes() < 2**50


ENTRIES = (
    "config.json",
    "versions.json",
    "starts.jsonl",
    "metrics.jsonl",
    "summary.json",
    "lock",
    "data.json",
    "curves.png",
)


@pytest.fixture
def folder(tmp_path):
    """The folder of a run that has just begun."""
    run.open_run(tmp_path / "run", tiny_program.Config(out=tmp_path / "run")).close()
    return tmp_path / "run"


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def make_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (make_folder, "a folder"),
        (make_pipe, "neither file nor folder"),
        (make_link, "a link to nothing"),
    ],
)
@pytest.mark.parametrize("name", ENTRIES)
def test_a_file_that_is_none_is_refused_at_once_and_stays(name, damage, words, folder):
    damage(folder / name)
    before = sorted(folder.iterdir())
    with pytest.raises(FileExistsError, match=f"{name} must be a file, got {words}; move it away"):
        tiny_program.main(
            tiny_program.Config(out=folder, resume=True), spy=lambda step: pytest.fail("computed")
        )
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["rows", "checkpoints", "checkpoints/plain-0"])
def test_a_subfolder_that_is_a_file_is_refused_at_once(name, folder):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("text")
    with pytest.raises(FileExistsError, match=f"{name} must be a folder, got a file; move it away"):
        tiny_program.main(
            tiny_program.Config(out=folder, resume=True), spy=lambda step: pytest.fail("computed")
        )
    assert (folder / name).read_text() == "text"


def test_a_checkpoint_that_is_a_link_is_refused_at_once(folder, tmp_path):
    """Orbax deletes old checkpoints, and cannot delete a link."""
    (tmp_path / "elsewhere").mkdir()
    (folder / "checkpoints/plain-0").mkdir(parents=True)
    (folder / "checkpoints/plain-0/3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        FileExistsError, match="plain-0/3 must be a folder, got a link; put the folder itself"
    ):
        tiny_program.main(tiny_program.Config(out=folder, resume=True))


@pytest.mark.parametrize(("name", "kind"), [("metrics.jsonl", "file"), ("rows", "folder"), ("", "folder")])
def test_an_entry_without_permission_is_refused_at_once(name, kind, folder, monkeypatch):
    (folder / "metrics.jsonl").touch()
    (folder / "rows").mkdir()
    access = os.access  # which allows everything to the superuser, as whom tests may run
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder / name and access(path, mode))
    words = f"must be a {kind}, got a {kind} that this user may not read and write"
    with pytest.raises(FileExistsError, match=words):
        tiny_program.main(
            tiny_program.Config(out=folder, resume=True), spy=lambda step: pytest.fail("computed")
        )


def test_text_that_nests_too_deep_for_the_parser_is_damage(tmp_path):
    path = tmp_path / "deep"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="must be JSON, got 100000 bytes"):
        read_json(path, "delete it")
    path.write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(ValueError, match="line 1 which is no JSON"):
        MetricsLog(path).lines()


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(200)])
def test_a_damaged_archive_is_named_with_its_remedy(content, tmp_path):
    path = tmp_path / "hits.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"hits\.npz must be a whole \.npz, got: .*; delete it\."):
        read_arrays(path, "delete it")
