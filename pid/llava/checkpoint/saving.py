"""Weights: from our modules into a Hugging Face folder, the way back of `weights`.

export.save(model, "folder")
llava.load("folder", dtype=jnp.bfloat16)        # the same bits, if the model was bfloat16
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save as serialise

from pid.llava.checkpoint.key_mapping import hub, is_stacked, sources
from pid.llava.checkpoint.loading import is_transposed
from pid.llava.config import LlavaConfig, TextConfig, VisionConfig
from pid.llava.model.llava import Llava


def text_fields(config: TextConfig) -> dict[str, Any]:
    """The `text_config` of a config.json. Llama and Mistral differ in the window alone."""
    window = {} if config.window is None else {"sliding_window": config.window}
    return {
        "model_type": "llama" if config.window is None else "mistral",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "rms_norm_eps": config.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.theta},
        "tie_word_embeddings": config.tied,
    } | window


def vision_fields(config: VisionConfig) -> dict[str, Any]:
    """The `vision_config` of a config.json: a tower that ends with the block whose output is used."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.depth,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
    }


def config_fields(config: LlavaConfig, dtype: Any) -> dict[str, Any]:
    """The fields of a config.json that `parse_config` reads as `config`."""
    newer = config.pinpoints is not None
    points = {"image_grid_pinpoints": [list(size) for size in config.pinpoints]} if config.pinpoints else {}
    return {
        "architectures": [f"Llava{'Next' * newer}ForConditionalGeneration"],
        "model_type": "llava_next" if newer else "llava",
        "dtype": np.dtype(dtype).name,
        "image_token_index": config.image_token,
        "image_seq_length": config.vision.patches,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": config.text.tied,
        "text_config": text_fields(config.text),
        "vision_config": vision_fields(config.vision),
    } | points


def tensors(model: Llava) -> dict[str, np.ndarray]:
    """The weights by the keys of the Hub, in torch's shapes.

    The norm behind the vision tower, which LLaVA does not use, is the identity: so Hugging Face's class lacks nothing.
    """
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
    found = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        array = np.asarray(leaf)
        for key, part in zip(sources(name, leaf.shape), array if is_stacked(name) else [array], strict=True):
            found[hub(key)] = np.ascontiguousarray(part.T if is_transposed(name) else part)
    norm = np.ones(model.config.vision.width, found["multi_modal_projector.linear_1.bias"].dtype)
    after = hub("vision_tower.post_layernorm.")
    return found | {f"{after}weight": norm, f"{after}bias": np.zeros_like(norm)}


def save(model: Llava, folder: str | Path) -> None:
    """Write config.json and model.safetensors, in the dtype of the weights; `llava.load` gives back the same bits.

    The files of the processor are not written: see its own `save_pretrained`.
    """
    folder, arrays = Path(folder), tensors(model)
    folder.mkdir(parents=True, exist_ok=True)
    fields = config_fields(model.config, next(iter(arrays.values())).dtype)
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    (folder / "model.safetensors").write_bytes(serialise(arrays, {"format": "pt"}))
