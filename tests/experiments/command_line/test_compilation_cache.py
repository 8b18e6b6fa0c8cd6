"""The cache of compiled programs: on by default, in the user's cache folder, and never a reason to fail or to warn."""

import os
import time
import warnings
from pathlib import Path

import jax
import pytest

from experiments import lra, run
from experiments.run import compilation_cache
from experiments.run.compilation_cache import default_folder, delete_old, enable_cache

NAMES = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    """A user without settings, whose cache folder is temporary. The settings of the tests come back afterwards."""
    before = {name: getattr(jax.config, name) for name in NAMES}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_compilation_cache_dir", None)
    with warnings.catch_warnings():
        yield
    for name, value in before.items():
        jax.config.update(name, value)


def values():
    return tuple(getattr(jax.config, name) for name in NAMES)


def test_the_default_lies_in_the_cache_folder_of_the_user_and_nobody_else_reads_it(tmp_path):
    enable_cache()
    assert values() == (str(default_folder()), True)
    assert default_folder().parent == tmp_path / "cache" / "pdeformer"
    assert default_folder().stat().st_mode & 0o777 == 0o700


def test_another_processor_has_another_folder(monkeypatch):
    before = default_folder()
    monkeypatch.setattr(compilation_cache, "processor", lambda: ("riscv64", "new"))
    assert default_folder() != before


def test_the_variable_and_an_earlier_setting_win(tmp_path, capsys):
    for name in (str(tmp_path / "mine"), "gs://bucket/cache"):
        jax.config.update("jax_compilation_cache_dir", name)
        enable_cache()
        assert values() == (name, True)
    assert not (tmp_path / "cache").exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_named", [False, True])
def test_a_folder_that_cannot_be_written_is_one_sentence(is_named, tmp_path, capsys):
    (tmp_path / "cache").write_text("")
    if is_named:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache" / "x"))
    enable_cache()
    assert values()[1] is False
    error = capsys.readouterr().err
    assert error.startswith(f"compiled programs are not stored: {tmp_path}/cache/")
    assert error.endswith(
        "(Not a directory); JAX_COMPILATION_CACHE_DIR names another folder, --no-cache needs none.\n"
    )


def test_no_cache_is_an_option_of_every_program(monkeypatch):
    monkeypatch.setattr(run.CommandLine, "read", lambda self, words: lra.Config(steps=len(words)))
    configs = []
    run.run_program(lra.command_line, configs.append, ["--no-cache", "--steps", "7"])
    assert [config.steps for config in configs] == [2]
    assert values() == (None, False)
    assert "--no-cache\n" in lra.command_line.help("quick")


def test_programs_that_nobody_uses_are_deleted(tmp_path):
    now = time.time()
    for name, days in (("old-cache", 61), ("new-cache", 59), ("other", 99)):
        path = Path(tmp_path / name)
        path.write_text("")
        last_use = now - days * 86400
        os.utime(path, (last_use, last_use))
    delete_old(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new-cache", "other"]
