"""Save a model as a Hugging Face folder. This is the inverse of `loading`.

llava.save(model, "folder")
llava.load("folder", dtype=jnp.bfloat16)        # the same bits, if the model was bfloat16
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save as serialize

from pid.llava.checkpoint.key_mapping import hub_key, is_stacked, is_transposed, tensor_keys
from pid.llava.config import LlavaConfig, TextConfig, VisionConfig
from pid.llava.model.llava import Llava, check_model
from pid.llava.model_folder.output_folder import create_folder, output_folder


def text_fields(config: TextConfig) -> dict[str, Any]:
    """The `text_config` of a config.json. Llama and Mistral differ only in the sliding window."""
    window = {} if config.sliding_window is None else {"sliding_window": config.sliding_window}
    return {
        "model_type": "llama" if config.sliding_window is None else "mistral",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
    } | window


def vision_fields(config: VisionConfig) -> dict[str, Any]:
    """The `vision_config` of a config.json: a tower that ends with the block whose output is used."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_dim,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.depth,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
    }


def config_fields(config: LlavaConfig, dtype: Any) -> dict[str, Any]:
    """The fields of a config.json that `parse_config` reads as `config`."""
    is_next = config.pinpoints is not None
    pinpoints = (
        {"image_grid_pinpoints": [list(size) for size in config.pinpoints]} if config.pinpoints else {}
    )
    return {
        "architectures": [f"Llava{'Next' * is_next}ForConditionalGeneration"],
        "model_type": "llava_next" if is_next else "llava",
        "dtype": np.dtype(dtype).name,
        "image_token_index": config.image_token,
        "image_seq_length": config.vision.patches,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": config.text.tie_embeddings,
        "text_config": text_fields(config.text),
        "vision_config": vision_fields(config.vision),
    } | pinpoints


def tensors(model: Llava) -> dict[str, np.ndarray]:
    """The weights by their keys on the hub, in torch's shapes.

    LLaVA does not use the norm after the vision tower. It is saved as the identity, so that the class of Hugging Face
    gets all its tensors.
    """
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
    weights = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        array = np.asarray(leaf)
        layers = array if is_stacked(name) else [array]
        for key, layer in zip(tensor_keys(name, leaf.shape), layers, strict=True):
            weights[hub_key(key)] = np.ascontiguousarray(layer.T if is_transposed(name) else layer)
    norm = np.ones(model.config.vision.hidden_size, weights["multi_modal_projector.linear_1.bias"].dtype)
    post_norm = hub_key("vision_tower.post_layernorm.")
    return weights | {f"{post_norm}weight": norm, f"{post_norm}bias": np.zeros_like(norm)}


def save(model: Llava, folder: str | Path) -> None:
    """Write config.json and model.safetensors, in the dtype of the weights.

    `llava.load` restores the same bits. The files of the processor are not written: use its own `save_pretrained`.

    Args:
        model: the model.
        folder: the folder, which is created if it does not exist.

    Raises:
        FileExistsError: the folder is a file, or lies below one.
        TypeError: the model is no `Llava`, or the folder no path.

    Example::

        llava.save(model, "folder")
        same = llava.load("folder", dtype=jnp.bfloat16)

    The example is not executed, because it needs the weights of a model.
    """
    check_model(model)
    folder, arrays = output_folder("a saved model", folder), tensors(model)
    create_folder("a saved model", folder)
    fields = config_fields(model.config, next(iter(arrays.values())).dtype)
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    (folder / "model.safetensors").write_bytes(serialize(arrays, {"format": "pt"}))
