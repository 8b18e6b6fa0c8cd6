"""Weights that are stored twice are compared: a single file with shards, an index with the headers of its shards."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from pid import llava
from pid.llava.checkpoint.weight_files import CHUNK, check_copies
from tests.helpers.llava_golden import GOLDEN, folder_of, loaded

NAME = "llava_next_mistral"
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"


@pytest.fixture
def sharded(tmp_path):
    """A copy of a checkpoint in three shards."""
    shutil.copytree(GOLDEN / NAME, tmp_path, dirs_exist_ok=True)
    return tmp_path


def assert_loads(folder):
    params = (nnx.state(model) for model in (llava.load(folder, dtype=jnp.float32), loaded(NAME)))
    jax.tree.map(np.testing.assert_array_equal, *params)


def change_last_value(config, tensors):
    """Change one value at the end of a tensor."""
    tensors["language_model.lm_head.weight"] = tensors["language_model.lm_head.weight"].copy()
    tensors["language_model.lm_head.weight"][-1, -1] += 1


def test_single_file_beside_equal_shards_is_read_alone_as_in_hugging_face(sharded):
    folder_of(NAME, sharded)
    assert_loads(sharded)
    (sharded / SECOND).unlink()  # a part of the copy is gone, and what is left agrees
    assert_loads(sharded)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change_last_value, "differ in 1 tensors, such as lm_head.weight"),
        (lambda _, tensors: tensors.pop("image_newline"), "differ in 1 tensors, such as image_newline"),
        (
            lambda _, tensors: tensors.update(
                {k: v.astype(np.float32) for k, v in tensors.items() if "input_layernorm" in k}
            ),
            "differ in 4 tensors, such as language_model.layers.0.input_layernorm.weight",
        ),
    ],
)
def test_single_file_beside_other_shards_is_refused(edit, words, sharded):
    folder_of(NAME, sharded, edit=edit)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        llava.load(sharded, dtype=jnp.float32)
    assert "(Hugging Face reads model.safetensors)" in str(error.value)
    (sharded / INDEX).unlink()  # shards without an index are compared too
    with pytest.raises(ValueError, match=re.escape(words)):
        llava.load(sharded, dtype=jnp.float32)
    for shard in sharded.glob("model-*"):
        shard.unlink()
    check_copies(sharded)


def test_every_byte_of_a_large_tensor_is_compared(tmp_path):
    """A value beyond the first chunk, and far from the end."""
    values = np.zeros(CHUNK // 2, np.float32)
    for name, value in (("model.safetensors", 0), (FIRST, 1)):
        values[CHUNK // 4 + 1000] = value
        save_file({"lm_head.weight": values}, tmp_path / name)
    with pytest.raises(ValueError, match=re.escape("differ in 1 tensors, such as lm_head.weight")):
        check_copies(tmp_path)


def rewrite_index(folder, edit):
    index = json.loads((folder / INDEX).read_text())
    edit(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


KEY = "language_model.model.norm.weight"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda index: index.update({KEY: FIRST}), f"got {KEY} not in {FIRST}"),
        (lambda index: index.pop(KEY), f"got {KEY} in {SECOND}, where {INDEX} says nothing"),
        (lambda index: index.update(extra=FIRST), f"got extra not in {FIRST}"),
        (lambda index: index.clear(), "an index has a weight_map, the file of each tensor, got none"),
        (lambda index: index.update({KEY: "model-9.safetensors"}), "found no model-9.safetensors in"),
    ],
)
def test_index_that_disagrees_with_its_shards_is_refused(edit, words, sharded):
    shard_of = json.loads((sharded / INDEX).read_text())["weight_map"]
    assert shard_of[KEY] == SECOND
    rewrite_index(sharded, edit)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(words)):
        llava.load(sharded, dtype=jnp.float32)


def test_tensor_in_two_shards_and_shards_of_another_download_are_refused(sharded):
    first, second = load_file(sharded / FIRST), load_file(sharded / SECOND)
    save_file(first | {KEY: second[KEY] + 1}, sharded / FIRST)
    with pytest.raises(ValueError, match=re.escape(f"got {KEY} in {FIRST}, where {INDEX} says {SECOND}")):
        llava.load(sharded, dtype=jnp.float32)
    save_file(first, sharded / FIRST)
    assert_loads(sharded)
    save_file(second, sharded / "model-00004-of-00004.safetensors")
    with pytest.raises(ValueError, match=re.escape("got model-00004-of-00004.safetensors besides")):
        llava.load(sharded, dtype=jnp.float32)


def test_index_that_is_no_json_is_named(sharded):
    (sharded / INDEX).write_text("{")
    with pytest.raises(ValueError, match=re.escape(f"{INDEX} must be JSON, got ")):
        llava.load(sharded, dtype=jnp.float32)


def in_the_cache_of_the_hub(folder):
    """Move the files of a folder to `blobs` and link them, as the hub's cache does; return the revision."""
    blobs, revision = folder / "blobs", folder / "snapshots" / "0a1b"
    blobs.mkdir()
    revision.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(blobs / name)
        (revision / name).symlink_to(Path("../../blobs") / name)
    return revision


def test_link_to_a_file_that_is_not_there_is_named(tmp_path):
    revision = in_the_cache_of_the_hub(folder_of(NAME, tmp_path))
    assert llava.load(revision, dtype="float32").config == loaded(NAME).config
    with pytest.raises(FileNotFoundError, match="the revisions in the hub's cache: pass .* such as .*0a1b"):
        llava.load(revision.parent, dtype="float32")
    (tmp_path / "blobs" / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match="model.safetensors is a link to a file that is not there: download"
    ):
        llava.load(revision, dtype="float32")
    (tmp_path / "blobs" / "config.json").unlink()
    with pytest.raises(
        FileNotFoundError, match="its config.json is a link to a file that is not there: download"
    ):
        llava.load(revision, dtype="float32")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model."])
def test_names_of_a_wrapped_model_are_told_by_their_prefix(prefix, tmp_path):
    folder_of(NAME, tmp_path, rename=lambda key: prefix + key)
    with pytest.raises(
        ValueError, match=f"the names have '{prefix}' before those of Hugging Face, as in {prefix}"
    ):
        llava.load(tmp_path, dtype="float32")


@pytest.mark.parametrize("stated", [1, 2, 4])
def test_vision_blocks_of_config_and_weights_are_as_many(stated, tmp_path):
    """vision_feature_layer counts from the last block: with another number it would be the output of another one."""
    folder_of(NAME, tmp_path, edit=lambda config, _: config["vision_config"].update(num_hidden_layers=stated))
    with pytest.raises(
        ValueError, match=f"vision blocks in the weights, got {stated} for 3 in .*; take both from one"
    ):
        llava.load(tmp_path, dtype="float32")
