"""A path that is no model folder of Hugging Face is named, with what to do."""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from pid import llava
from pid.llava.checkpoint.key_mapping import canonical_key
from tests.helpers.llava_golden import GOLDEN, folder_of, loaded

NAME = "llava_15_mistral"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 132\n"


def write(folder: Path, **files):
    """Write files by name, with `__` for a dot: text, bytes, or a dictionary as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        content = json.dumps(content) if isinstance(content, dict) else content
        content = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(content)


# Paths without a config.json


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nothing", "there is no such folder: check the path"),
        (
            lambda path: Path("llava-hf/llava-1.5-7b-hf"),
            "hf download llava-hf/llava-1.5-7b-hf --local-dir FOLDER",
        ),
        (
            lambda path: write(path, model__safetensors=b"x") or path / "model.safetensors",
            "pass the folder that",
        ),
        (lambda path: path, "the folder is empty: download the model into it"),
        (
            lambda path: write(path, adapter_config__json={}, adapter_model__safetensors=b"") or path,
            "these are adapters (LoRA): merge them into their base model by merge_and_unload of peft",
        ),
        (
            lambda path: (path / "snapshots" / "2f8a").mkdir(parents=True) or path,
            "pass the folder of a revision in",
        ),
        (
            lambda path: write(path, q4__gguf=b"") or path,
            "it has q4.gguf, GGUF weights of llama.cpp: download",
        ),
        (
            lambda path: write(path, model__safetensors=b"") or path,
            "download the config.json of that model too",
        ),
        (lambda path: write(path, notes__txt=b"") or path, "check the path"),
    ],
)
def test_path_without_a_config_is_named(make, words, tmp_path):
    path = make(tmp_path)
    for door in (llava.read_config, lambda path: llava.load(path, dtype=jnp.float32)):
        with pytest.raises(
            FileNotFoundError, match=re.escape("a model folder has a config.json, found none")
        ) as error:
            door(path)
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "which is a Git LFS pointer; run git lfs pull in its folder"),
        (b"<!doctype html>", "config.json must be JSON, got "),
        (b"[1]", "config.json is a JSON object, got list"),
    ],
)
def test_damaged_config_is_named(content, words, tmp_path):
    write(tmp_path, config__json=content)
    with pytest.raises(ValueError, match=re.escape(words)):
        llava.read_config(tmp_path)


# Weights in another form


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "it has pytorch_model.bin, pickled weights of torch: load it by transformers"),
        ("pytorch_model.bin.index.json", "it has pytorch_model.bin.index.json, pickled weights of torch"),
        ("pytorch_model-00001-of-00002.bin", "pickled weights of torch"),
        ("ggml-model-q4_k.gguf", "it has ggml-model-q4_k.gguf, GGUF weights of llama.cpp: download"),
        ("flax_model.msgpack", "it has flax_model.msgpack, weights of the former Flax models"),
        ("tf_model.h5", "weights of TensorFlow"),
        ("adapter_model.safetensors", "an adapter (LoRA): merge it into its base model"),
        ("mm_projector.bin", "a projector in the layout of the original authors"),
        ("consolidated.safetensors", "weights in the layout of their authors"),
        ("model.fp16.safetensors", "safetensors by another name: rename it to model.safetensors"),
        (
            "model-00001-of-00002.safetensors",
            "shards without their index: download model.safetensors.index.json",
        ),
        ("notes.txt", "found no model.safetensors"),
    ],
)
def test_folder_without_safetensors_is_named(name, words, tmp_path):
    folder_of(NAME, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="a model folder has its weights as safetensors") as error:
        llava.load(tmp_path, dtype=jnp.float32)
    assert words in str(error.value)


def test_weights_that_are_a_git_lfs_pointer_are_named(tmp_path):
    folder_of(NAME, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(
        ValueError, match="got model.safetensors of 68 bytes: a Git LFS pointer; run git lfs pull"
    ):
        llava.load(tmp_path, dtype=jnp.float32)


def test_adapters_beside_the_weights_are_refused_and_pickled_copies_are_not(tmp_path):
    folder_of(NAME, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read, as in Hugging Face")
    llava.load(tmp_path, dtype=jnp.float32)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(
        ValueError, match="has the weights of one model, got an adapter_config.json beside them"
    ):
        llava.load(tmp_path, dtype=jnp.float32)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
@pytest.mark.parametrize("part", [lambda config: config, lambda config: config["text_config"]])
def test_quantized_checkpoint_is_refused_by_its_method(method, part, tmp_path):
    quantization = {"quantization_config": {"quant_method": method}}
    folder_of(NAME, tmp_path, edit=lambda config, _: part(config).update(quantization))
    with pytest.raises(
        ValueError, match=f"weights are floating, got a quantization_config of the method '{method}'"
    ):
        llava.load(tmp_path, dtype=jnp.float32)


# The layout of the original authors


def original_key(key):
    """The key in the layout of the original authors."""
    key = (
        canonical_key(key)
        .replace("language_model.", "model.")
        .replace("image_newline", "model.image_newline")
    )
    key = key.replace("multi_modal_projector.linear_1", "model.mm_projector.0")
    key = key.replace("multi_modal_projector.linear_2", "model.mm_projector.2")
    return key.replace("vision_tower.", "model.vision_tower.vision_tower.vision_model.")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "llava_llama"}, "got model_type 'llava_llama' in"),
        ({"model_type": "llava_mistral"}, "got model_type 'llava_mistral' in"),
        (
            {"mm_vision_tower": "openai/clip-vit-large-patch14-336"},
            "got model_type 'llava' with mm_vision_tower in",
        ),
        ({}, "tensors have the names of Hugging Face, got model.mm_projector.0"),
    ],
)
def test_original_layout_is_named(fields, words, tmp_path):
    folder_of(NAME, tmp_path, edit=lambda config, _: config.update(fields), rename=original_key)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        llava.load(tmp_path, dtype=jnp.float32)
    assert "take the checkpoint that Hugging Face has converted, such as llava-hf/llava-1.5-7b-hf" in str(
        error.value
    )
    if fields:
        with pytest.raises(ValueError, match=re.escape(words)):
            llava.read_config(tmp_path)


# The config and the weights


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_hidden_layers": 3}, "the config.json has fewer layers (num_hidden_layers) than the weights"),
        ({"num_hidden_layers": 5}, "got none for language_model.layers.4.input_layernorm.weight"),
        ({"vocab_size": 41}, "the config wants language_model.embed_tokens.weight (41, 32), got (40, 32)"),
        ({"intermediate_size": 49}, "the config wants language_model.layers.0.mlp.down_proj.weight (32, 49)"),
    ],
)
def test_config_of_another_size_than_the_weights_is_refused(fields, words, tmp_path):
    folder_of(NAME, tmp_path, edit=lambda config, _: config["text_config"].update(fields))
    with pytest.raises(ValueError, match=re.escape(words)):
        llava.load(tmp_path, dtype=jnp.float32)


# The dtype


@pytest.mark.parametrize(
    "dtype", ["float16", jnp.float16, np.dtype("float16"), "float64", float, None, "auto", "bf16"]
)
def test_dtype_that_the_model_does_not_compute_in_is_refused(dtype):
    with pytest.raises(ValueError, match="a model computes in float32 or bfloat16 on cpu, got dtype="):
        llava.load(GOLDEN / NAME, dtype=dtype)


class TorchType:
    """A dtype of torch, as far as it is seen from here."""

    __module__ = "torch"

    def __repr__(self):
        return "torch.float32"


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), TorchType()])
def test_dtype_is_an_object_or_a_name(dtype):
    model = llava.load(GOLDEN / NAME, dtype=dtype)
    assert model.language.norm.scale.dtype == jnp.float32
    ours, theirs = (np.asarray(m.language.embed.embedding[...]) for m in (model, loaded(NAME)))
    np.testing.assert_array_equal(ours, theirs)
