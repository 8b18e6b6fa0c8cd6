"""What stays of a start that is refused: nothing. And sizes that are refused by the memory of the machine."""

import dataclasses
from pathlib import Path

import pytest

from experiments import run
from pid.interface import memory_check


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
