"""Folders that are written: a cache, a store, a saved model. A path that cannot be one is refused before any work."""

from pathlib import Path

import numpy as np
import pytest

from pid import llava
from pid.llava.checkpoint import loading
from pid.llava.model_folder.output_folder import create_folder
from tests.helpers.llava_golden import GOLDEN, loaded

NAME = "llava_15_llama"
WRITERS = {
    "a cache of weights": lambda path: llava.load(GOLDEN / NAME, dtype="float32", cache=path),
    "a saved model": lambda path: llava.save(loaded(NAME), path),
    "a store": lambda path: llava.capture(loaded(NAME), [], conditions={"baseline": ()}, store=path),
}


@pytest.mark.parametrize("what", WRITERS)
def test_file_in_place_of_a_folder_is_refused_before_any_work(what, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "stored_config", lambda *_, **__: pytest.fail("the weights were read first"))
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(
        FileExistsError, match=f"{what} is a folder, got the file .*notes.txt; name another folder"
    ):
        WRITERS[what](file)
    with pytest.raises(
        FileExistsError, match=f"{what} is a folder, got .*below/it below the file .*notes.txt; name"
    ):
        WRITERS[what](file / "below" / "it")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("what", WRITERS)
def test_folder_that_the_system_refuses_is_named(what):
    with pytest.raises(
        OSError, match=f"{what} is a folder that this process may create, got /proc/none: .*; name"
    ):
        create_folder(what, Path("/proc/none"))


def test_missing_folders_are_created(tmp_path):
    llava.save(loaded(NAME), tmp_path / "a" / "b")
    llava.load(tmp_path / "a" / "b", dtype="float32", cache=str(tmp_path / "c" / "d"))
    again = llava.load(tmp_path / "a" / "b", dtype="float32", cache=tmp_path / "c" / "d")
    ours, theirs = (model.language.norm.scale[...] for model in (again, loaded(NAME)))
    np.testing.assert_array_equal(ours, theirs)
