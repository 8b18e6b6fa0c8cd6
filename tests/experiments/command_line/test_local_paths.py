"""Addresses of object stores are refused wherever a path is: `Path` would make a folder of this machine of them."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

import pid
from experiments import bench, claims, lm, lra, pid_gaussian, pid_llava, placement, run, stability, text
from experiments.data import inventory
from experiments.pid_llava.toy.toy_training import Train
from pid import llava, save_estimate
from pid.interface.command_options import options_of
from pid.interface.local_paths import check_local

ADDRESS = "gs://bucket/run"
CONFIGS = (
    *(lra.Config(), claims.Config(), pid_gaussian.Config(), pid_llava.Config(), bench.Config()),
    *(stability.Config(), Train(), inventory.Config(), text.Config(), placement.Config(), lm.Config()),
)
PATHS = [
    (config, option)
    for config in CONFIGS
    for option in options_of(config)
    if option.kind is Path and len(option.path) == 1
]


@pytest.mark.parametrize(
    ("config", "option"), PATHS, ids=lambda x: getattr(x, "name", "") or type(x).__module__.split(".")[1]
)
def test_a_configuration_refuses_the_address(config, option):
    value = (Path(ADDRESS),) if isinstance(option.default, tuple) else Path(ADDRESS)
    with pytest.raises(
        ValueError, match=rf"--{option.name} is a path of a mounted .*got gs:/bucket/run; use"
    ):
        dataclasses.replace(config, **{option.path[0]: value})


def test_so_does_every_door_of_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
    estimate = pid.estimate(target, x, y, key=jax.random.key(0), ci=None, null=None)
    for call in (
        lambda: llava.load(ADDRESS, dtype="float32"),
        lambda: llava.load(tmp_path, dtype="float32", cache=ADDRESS),
        lambda: save_estimate(ADDRESS, estimate),
        lambda: run.open_run(ADDRESS, lra.Config()),
    ):
        with pytest.raises(ValueError, match="is a path of a mounted file system"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["run", "/mnt/bucket/run", "../a:b/c", "a:/b", "C:/run", "./gs:", "gs:", "a/b://c"]
)
def test_other_paths_are_taken(path):
    check_local(path, "--out")
