"""The weights of LLaVA: layouts of keys, loading, the cache, and folders that are refused."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from pid import llava
from pid.llava.checkpoint import cache as cache_file
from pid.llava.checkpoint import loading as weights_file
from pid.llava.checkpoint import safetensors_io as folder_file
from pid.llava.checkpoint.key_mapping import canonical_key
from tests.helpers.llava_golden import (
    CRITERION,
    GOLDEN,
    NAMES,
    error,
    folder_of,
    golden,
    loaded,
    mesh_of,
    prepared,
    text_arrays,
)


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


# Layouts and folders


def hub(key):
    """The key in the layout of the hub, in which the vision tower has a vision_model."""
    return key.replace("vision_tower.", "vision_tower.vision_model.")


def in_memory(key):
    """The key in the layout of a model in memory."""
    key = canonical_key(key).replace("vision_tower.", "vision_tower.vision_model.")
    return key if key.startswith("lm_head") else f"model.{key}"


@pytest.mark.parametrize("rename", [hub, in_memory])
def test_every_layout_of_keys_loads_the_same_weights(rename, tmp_path):
    def add_buffers(config, tensors):
        tensors["vision_tower.embeddings.position_ids"] = np.arange(17)[None]
        tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)

    name = "llava_next_mistral"
    path = folder_of(name, tmp_path, edit=add_buffers, rename=rename)
    ours, theirs = (nnx.state(m) for m in (llava.load(path, dtype=jnp.float32), loaded(name)))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_weights_are_stored_in_the_dtype_asked_for():
    params = jax.tree.leaves(nnx.state(llava.load(GOLDEN / NAMES[0], dtype=jnp.bfloat16)))
    assert {leaf.dtype for leaf in params} == {jnp.dtype(jnp.bfloat16)}


def drop(config, tensors):
    del tensors["language_model.model.layers.2.mlp.up_proj.weight"]


def add(config, tensors):
    tensors["language_model.model.layers.0.self_attn.q_proj.lora_A.weight"] = np.zeros((2, 2), np.float32)


def reshape(config, tensors):
    tensors["image_newline"] = np.zeros(31, np.float32)


def quantize(config, tensors):
    tensors["language_model.lm_head.weight"] = np.zeros((40, 32), np.int8)


def twice(config, tensors):
    tensors["lm_head.weight"] = np.zeros((40, 32), np.float32)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop, "got none for language_model.layers.2.mlp.up_proj.weight in"),
        (add, "got none for language_model.layers.0.self_attn.q_proj.lora_A.weight in"),
        (reshape, "the config wants image_newline (32,), got (31,)"),
        (quantize, "weights are floating, got I8 for language_model.lm_head.weight"),
        (twice, "a parameter has one tensor, got a second, lm_head.weight"),
        (
            lambda config, _: config.update(model_type="qwen2_vl"),
            "must be 'llava' or 'llava_next', got 'qwen2_vl'",
        ),
        (lambda config, _: config.update(vision_feature_layer=[-2, -1]), "one hidden state of 4, -4 … 3"),
        (lambda config, _: config["text_config"].update(hidden_act="gelu"), "must be 'silu', got 'gelu'"),
        (
            lambda config, _: config["text_config"].update(
                rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
            ),
            "rope_type must be 'default', got 'linear'",
        ),
    ],
)
def test_folder_that_is_not_this_model_is_refused(edit, words, tmp_path):
    folder_of("llava_next_mistral", tmp_path, edit=edit)
    with pytest.raises(ValueError, match=re.escape(words)):
        llava.load(tmp_path, dtype=jnp.float32)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape("a model folder has a config.json, found none")):
        llava.load(tmp_path, dtype=jnp.float32)
    shutil.copytree(GOLDEN / "llava_next_mistral", tmp_path, dirs_exist_ok=True)
    shard = tmp_path / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"must be whole, got model-00002-of-00003.safetensors of \d+ bytes"):
        llava.load(tmp_path, dtype=jnp.float32)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="found no model-00002-of-00003.safetensors"):
        llava.load(tmp_path, dtype=jnp.float32)


def test_model_of_text_alone_with_tied_embeddings_gives_logits_alone():
    name = "llava_15_mistral"
    config = replace(loaded(name).config.text, tie_embeddings=True)
    model = llava.load_text(config, text_arrays(name), dtype=jnp.float32)
    inputs, reference = prepared(name), golden(name)
    graphdef, params = nnx.split(model)
    ours = jax.jit(lambda params, *inputs: nnx.merge(graphdef, params)(*inputs, collect="logits"))(
        params, reference["residual"][0], inputs.types, inputs.knockout_mask
    )
    assert ours.residual is None
    not_padding = reference["token_types"] > 0
    assert error(np.asarray(ours.final)[not_padding][None], reference["final"][not_padding][None]) < CRITERION
    expected = reference["final"] @ np.asarray(model.embed.embedding[...]).T
    assert error(np.asarray(ours.logits)[not_padding][None], expected[not_padding][None]) < CRITERION
    with pytest.raises(ValueError, match=re.escape("got none for lm_head.weight in the arrays")):
        llava.load_text(replace(config, tie_embeddings=False), text_arrays(name), dtype=jnp.float32)


# The cache of converted weights


def assert_same_parameters(ours, theirs):
    """Assert that all parameters have the same dtypes and the same bits."""
    for our, their in zip(*(jax.tree.leaves(nnx.state(m)) for m in (ours, theirs)), strict=True):
        assert our.dtype == their.dtype
        np.testing.assert_array_equal(np.asarray(our), np.asarray(their))


def entries(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def conversions(monkeypatch):
    """The list of all weight folders that were read."""
    folders = []

    def open_folder(folder):
        folders.append(folder)
        return folder_file.open_folder(folder)

    monkeypatch.setattr(weights_file, "open_folder", open_folder)
    return folders


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_cached_weights_are_those_of_a_direct_load_on_any_mesh(dtype, tmp_path, conversions):
    path = GOLDEN / "llava_next_mistral"
    before = bytes_of(path)
    direct = llava.load(path, dtype=dtype)
    assert_same_parameters(llava.load(path, dtype=dtype, cache=tmp_path / "new"), direct)
    assert len(conversions) == 2
    assert_same_parameters(llava.load(path, dtype=dtype, cache=tmp_path / "new"), direct)
    split = llava.load(path, dtype=dtype, cache=str(tmp_path / "new"), mesh=mesh_of(2, 4))
    assert_same_parameters(split, direct)
    kernel: Any = split.language.blocks.query.kernel[...]
    assert kernel.sharding.spec == PartitionSpec(None, None, "model")
    assert kernel.addressable_shards[0].data.shape == (4, 32, 8)
    assert len(conversions) == 2
    assert bytes_of(path) == before


def test_weights_cached_from_eight_devices_are_restored_on_one(tmp_path, conversions):
    path, direct = GOLDEN / "llava_15_mistral", loaded("llava_15_mistral")
    conversions.clear()
    assert_same_parameters(llava.load(path, dtype=jnp.float32, cache=tmp_path, mesh=mesh_of(2, 4)), direct)
    restored = llava.load(path, dtype=jnp.float32, cache=tmp_path)
    assert_same_parameters(restored, direct)
    kernel: Any = restored.language.blocks.query.kernel[...]
    assert kernel.devices() == {jax.devices()[0]}
    assert conversions.count(path) == 1


def test_every_source_and_every_dtype_has_its_own_entry(tmp_path):
    name, cache = "llava_15_mistral", tmp_path / "cache"
    path = folder_of(name, tmp_path / "model")

    def cached(dtype=jnp.float32):
        assert_same_parameters(llava.load(path, dtype=dtype, cache=cache), llava.load(path, dtype=dtype))
        return len(entries(cache))

    def other_values(config, tensors):  # same names, shapes and dtypes, so the header stays the same
        tensors["language_model.model.norm.weight"] = tensors["language_model.model.norm.weight"][::-1].copy()

    def other_eps(config, tensors):
        config["text_config"]["rms_norm_eps"] = 1e-6

    def other_depth(config, tensors):
        config["vision_feature_layer"] = -1

    assert [cached(), cached(jnp.bfloat16), cached()] == [1, 2, 2]
    for count, edit in enumerate((other_values, other_eps, other_depth), 3):
        size = (path / "model.safetensors").stat().st_size
        folder_of(name, path, edit=edit)
        assert (path / "model.safetensors").stat().st_size == size
        assert cached() == count
    folder_of(name, path)
    assert cached() == 5


def test_entry_that_lost_a_part_is_made_again(tmp_path, caplog):
    path, cache = GOLDEN / "llava_15_llama", tmp_path
    direct = loaded("llava_15_llama")
    llava.load(path, dtype=jnp.float32, cache=cache)
    (entry,) = entries(cache)

    def largest():  # the largest file holds data
        files = (file for file in entry.rglob("*") if file.is_file())
        return max(files, key=lambda file: file.stat().st_size)

    for damage in (
        lambda: largest().write_bytes(largest().read_bytes()[:-1]),
        lambda: largest().write_bytes(b""),
        lambda: largest().unlink(),
        lambda: (entry / "files.json").unlink(),
        lambda: (entry / "files.json").write_text("{"),
    ):
        damage()
        caplog.clear()
        assert_same_parameters(llava.load(path, dtype=jnp.float32, cache=cache), direct)
        assert caplog.text.count("is incomplete and is converted again") == 1
        assert cache_file.is_complete(entry)


def test_load_that_is_killed_while_it_writes_leaves_no_entry(tmp_path, monkeypatch):
    path = GOLDEN / "llava_15_llama"
    save = cache_file.ocp.save

    def killed(folder, params):
        save(folder, {"a": np.zeros(3)})
        Path(f"{folder}.orbax-checkpoint-tmp").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_file.ocp, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            llava.load(path, dtype=jnp.float32, cache=tmp_path)
    assert [path.suffix for path in entries(tmp_path)] == [".partial"]
    assert_same_parameters(llava.load(path, dtype=jnp.float32, cache=tmp_path), loaded("llava_15_llama"))
    assert [path.suffix for path in entries(tmp_path)] == [""]
    assert cache_file.is_complete(entries(tmp_path)[0])


def test_cache_is_written_by_one_process_alone_and_of_whole_files_alone(tmp_path, monkeypatch):
    path = folder_of("llava_15_llama", tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(cache_file.jax, "process_count", lambda: 2)
        with pytest.raises(ValueError, match="a cache is written by one process, got 2 and no entry"):
            llava.load(path, dtype=jnp.float32, cache=tmp_path / "cache")
    whole = (path / "model.safetensors").read_bytes()
    for size in (len(whole) - 100, 100, 4, 0):
        (path / "model.safetensors").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"must be whole, got model.safetensors of {size} bytes"):
            llava.load(path, dtype=jnp.float32, cache=tmp_path / "cache")
    assert entries(tmp_path / "cache") == []
