"""Hugging Face folders of LLaVA for the toy world, with random weights, and a run that a test can kill.

python -m tests.helpers.toy_llava MODEL CACHE OUT STAGE     # halts in STAGE: captures or estimates
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from experiments import pid_llava
from pid import llava, toyworld
from pid.llava.checkpoint.key_mapping import hub_key, is_stacked, is_transposed, tensor_keys
from pid.llava.checkpoint.loading import abstract_model
from pid.toyworld.scenes import PATCH
from pid.toyworld.vocabulary import IMAGE, SIDE, VOCABULARY

WIDTH, LAYERS = 16, 4
FIELDS = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_token_index": VOCABULARY[IMAGE],
    "image_seq_length": SIDE**2,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "projector_hidden_act": "gelu",
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "llama",
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE * PATCH,
        "patch_size": PATCH,
        "projection_dim": 16,
    },
}


def write(folder: Path, seed: int = 0, **text) -> Path:
    """Write a folder with random weights, large enough that the input affects the output; `text` changes its config."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = FIELDS | {"text_config": FIELDS["text_config"] | text}
    (folder / "config.json").write_text(json.dumps(fields))
    config = llava.read_config(folder)
    _, shapes = abstract_model(llava.Llava, config, jnp.float32)
    rng, tensors = np.random.default_rng(seed), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        keys = tensor_keys(name, leaf.shape)
        shape = leaf.shape[1:] if is_stacked(name) else leaf.shape
        for key in keys:
            values = ("scale" in name) + 0.3 * rng.standard_normal(shape, np.float32)
            tensors[hub_key(key)] = np.ascontiguousarray(
                values.T if is_transposed(name) else values, np.float32
            )
    save_file(tensors, folder / "model.safetensors")
    toyworld.hugging_face_processor().save_pretrained(folder)
    return folder


def tiny(*models: Path, cache: Path, **changes) -> pid_llava.Config:
    """The configuration of a run of a few seconds: one task, few rows, no flow."""
    config = pid_llava.Config(
        model=models,
        cache=cache,
        config="recommended",
        tasks=("QueryAttr",),
        capture=pid_llava.CaptureOptions(
            rows=24, samples=20, only_correct=False, least=12, batch=8, style=toyworld.STYLE, suffix="none"
        ),
        estimation=pid_llava.Estimation(components=2, draws=8, shuffles=2),
        corners=pid_llava.Corners(rows=16, product_rows=0, tasks=("QueryAttr",)),
    )
    return dataclasses.replace(config, **changes)


def halt_after(function, calls: int):
    """Wrap a function so that it prints "halted" and sleeps after `calls` calls."""
    remaining = [calls]

    def wrapped(*arguments, **keywords):
        if not remaining[0]:
            print("halted", flush=True)
            time.sleep(600)
        remaining[0] -= 1
        return function(*arguments, **keywords)

    return wrapped


if __name__ == "__main__":
    from experiments.pid_llava import result_cache
    from pid.llava.activations import shard_writer

    model, folder, out, stage = sys.argv[1:]
    if stage == "captures":
        shard_writer.ShardWriter.save = halt_after(shard_writer.ShardWriter.save, 2)
    else:
        result_cache.restore_or_estimate = halt_after(result_cache.restore_or_estimate, 1)
    pid_llava.main(tiny(Path(model), cache=Path(folder), out=Path(out)))
