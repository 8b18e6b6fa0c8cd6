"""Checkpoints in files: every format gives the same arrays, and no pickle runs foreign code."""

import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments.text.official_checkpoints.checkpoint_files import read_state_dict
from tests.experiments.text import torch_files
from tests.pdeformer.cta.official_cta import STATE


def equal(state, expected):
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".npz"])
def test_every_format_gives_the_arrays_of_the_golden_checkpoint(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    if suffix == ".npz":
        np.savez(path, **STATE)
    elif suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch_files.save(path, STATE)
    equal(read_state_dict(path), STATE)


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model"])
def test_the_state_dict_may_stand_beside_other_values(key, tmp_path):
    value = {key: STATE, "epoch": 5, "best": 0.62, "optimizer": {"lr": 1e-4}, "history": [1.0, 2.0]}
    equal(read_state_dict(torch_files.save(tmp_path / "model.pt", value)), STATE)


def test_views_parameters_types_and_byte_orders_are_read(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "turned": rng.normal(size=(3, 5)).astype(np.float32),
        "behind": rng.normal(size=(2, 3, 4)),
        "half": rng.normal(size=4).astype(np.float16),
        "short": rng.normal(size=4).astype(ml_dtypes.bfloat16),
        "numbers": np.arange(6).reshape(2, 3),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 2), np.float32),
    }
    options = {"transposed": ("turned",), "shared": ("behind", "half"), "parameters": ("turned", "scalar")}
    equal(read_state_dict(torch_files.save(tmp_path / "model.pt", arrays, **options)), arrays)
    big = {name: array for name, array in arrays.items() if name not in ("short",)}
    state = read_state_dict(torch_files.save(tmp_path / "big.pt", big, order="big", name="big"))
    for name, array in big.items():
        np.testing.assert_array_equal(state[name], array)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [Attack(os.system, "touch {0}"), Attack(eval, "1"), Attack(getattr, "a", "upper")],
    ids=["system", "eval", "getattr"],
)
def test_a_pickle_that_calls_anything_else_is_refused_and_runs_nothing(attack, tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "model.pt"
    attack.call = attack.call[0], tuple(part.format(proof) for part in attack.call[1])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": attack}, protocol=2))
    with pytest.raises(ValueError, match="a pickle that calls .*, which no state dict needs"):
        read_state_dict(path)
    assert not proof.exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def shorten(path):
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["archive/data/0"] = files["archive/data/0"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def old_format(path):
    path.write_bytes(pickle.dumps({}))


def lose_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/file", b"")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "zip archive of torch.save"),
        (shorten, "bytes for .* numbers"),
        (old_format, "as PyTorch writes since 1.6"),
        (lose_pickle, "no data.pkl"),
    ],
)
def test_damaged_files_are_refused_with_a_remedy(damage, words, tmp_path):
    path = torch_files.save(tmp_path / "model.pt", STATE)
    damage(path)
    with pytest.raises(ValueError, match=words):
        read_state_dict(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    array = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (2,), (4,))
    path = torch_files.save(tmp_path / "model.pt", {"weight": array})
    content = zipfile.ZipFile(path).read("archive/data.pkl")
    assert b"K\x02\x85" in content  # the size (2,)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content.replace(b"K\x02\x85", b"K\x63\x85", 1))
        archive.writestr("archive/data/0", np.zeros(2, np.float32).tobytes())
    with pytest.raises(ValueError, match="beyond its 2 numbers"):
        read_state_dict(path)


@pytest.mark.parametrize("value", [{}, {"epoch": 5}, {"weight": {"inner": {}}}])
def test_a_file_without_a_state_dict_is_refused(value, tmp_path):
    with pytest.raises(ValueError, match="must hold a state dict"):
        read_state_dict(torch_files.save(tmp_path / "model.pt", value))


def test_missing_files_and_other_formats_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="which is no file"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"\.pt, \.pth, \.safetensors, \.npz, got"):
        read_state_dict(tmp_path / "model.bin")
    (tmp_path / "model.safetensors").write_bytes(b"text")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        read_state_dict(tmp_path / "model.safetensors")
