"""The sizes and choices of a LLaVA, and how they are read from a Hugging Face folder.

A config.json leaves out what equals the default of its class, so it is read through transformers' own classes
(which need no torch). What this port does not compute is refused here, by name.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP vision tower, up to the layer whose output is used."""

    width: int
    """Channels C."""
    ffn: int
    """Hidden width of the feed-forward sublayer."""
    heads: int
    """Attention heads N."""
    depth: int
    """Blocks that are loaded and computed: the output of the last of them is the image feature."""
    image_size: int
    """Pixels along the side of a tile."""
    patch_size: int
    """Pixels along the side of a patch."""
    channels: int
    """Colours."""
    activation: str
    """"quick_gelu" or "gelu"."""
    eps: float
    """Added to the variance in LayerNorm."""

    @property
    def side(self) -> int:
        """Patches along the side of a tile."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches P of a tile."""
        return self.side**2


@dataclass(frozen=True)
class TextConfig:
    """A Llama or Mistral language model."""

    vocabulary: int
    """Number of token ids V."""
    width: int
    """Channels D of the residual stream."""
    ffn: int
    """Hidden width of the feed-forward sublayer."""
    layers: int
    """Blocks L."""
    heads: int
    """Query heads N."""
    kv_heads: int
    """Key and value heads K; each serves N/K query heads."""
    head_width: int
    """Width H of a head."""
    eps: float
    """Added to the mean square in RMSNorm."""
    theta: float
    """Base of the rotary wavelengths."""
    window: int | None
    """Longest sequence before a sliding window would matter; None is no window."""
    tied: bool
    """Whether the embedding is also the output map."""


@dataclass(frozen=True)
class LlavaConfig:
    """Vision tower, projector and language model."""

    vision: VisionConfig
    """The vision tower."""
    text: TextConfig
    """The language model."""
    image_token: int
    """The id whose embeddings are replaced by image features."""
    pinpoints: tuple[tuple[int, int], ...] | None
    """Resolutions (height, width) on offer to an image of LLaVA-1.6; None is LLaVA-1.5, one tile per image."""


def require(what: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(
            f"{what} must be {' or '.join(repr(choice) for choice in allowed)}, got {value!r}; "
            f"this port computes nothing else."
        )


def text_config(config: Any) -> TextConfig:
    """The `TextConfig` of a transformers LlamaConfig or MistralConfig.

    Raises:
        ValueError: another model, scaled RoPE, biases, or an activation other than SiLU.
    """
    require("the text model", config.model_type, ("llama", "mistral"))
    require("hidden_act of the text model", config.hidden_act, ("silu",))
    require("rope_type", config.rope_parameters.get("rope_type", "default"), ("default",))
    for bias in ("attention_bias", "mlp_bias"):
        require(bias, getattr(config, bias, False), (False,))
    return TextConfig(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        ffn=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=config.head_dim or config.hidden_size // config.num_attention_heads,
        eps=float(config.rms_norm_eps),
        theta=float(config.rope_parameters["rope_theta"]),
        window=getattr(config, "sliding_window", None),
        tied=config.tie_word_embeddings,
    )


def vision_config(config: Any, feature_layer: int | list[int]) -> VisionConfig:
    """The `VisionConfig` of a transformers CLIPVisionConfig, as deep as hidden state `feature_layer` needs.

    Hidden state 0 is what enters the first block, and -1 the output of the last.

    Raises:
        ValueError: another tower, several feature layers, or one that is not there.
    """
    require("the vision tower", config.model_type, ("clip_vision_model",))
    require("hidden_act of the vision tower", config.hidden_act, ("quick_gelu", "gelu"))
    whole = config.num_hidden_layers
    if not isinstance(feature_layer, int) or not -whole - 1 <= feature_layer <= whole:
        raise ValueError(
            f"vision_feature_layer must be one hidden state of {whole + 1}, -{whole + 1} … {whole}, "
            f"got {feature_layer}; this port takes no list of them."
        )
    return VisionConfig(
        width=config.hidden_size,
        ffn=config.intermediate_size,
        heads=config.num_attention_heads,
        depth=feature_layer % (whole + 1),
        image_size=config.image_size,
        patch_size=config.patch_size,
        channels=config.num_channels,
        activation=config.hidden_act,
        eps=float(config.layer_norm_eps),
    )


def llava_config(config: Any) -> LlavaConfig:
    """The `LlavaConfig` of a transformers LlavaConfig or LlavaNextConfig.

    Raises:
        ValueError: names what this port does not compute.
    """
    require("the model", config.model_type, ("llava", "llava_next"))
    require("vision_feature_select_strategy", config.vision_feature_select_strategy, ("default",))
    require("projector_hidden_act", config.projector_hidden_act, ("gelu",))
    require("multimodal_projector_bias", config.multimodal_projector_bias, (True,))
    points = getattr(config, "image_grid_pinpoints", None)
    return LlavaConfig(
        vision=vision_config(config.vision_config, config.vision_feature_layer),
        text=replace(text_config(config.text_config), tied=config.tie_word_embeddings),
        image_token=config.image_token_index,
        pinpoints=None if points is None else tuple((height, width) for height, width in points),
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of transformers is more than that there is no torch, which is not needed here."""
    return not record.getMessage().startswith("PyTorch was not found")


def import_transformers() -> Any:
    """transformers, imported when first needed, for it takes seconds, and without its word on torch."""
    logging.getLogger("transformers").addFilter(_is_news)
    import transformers

    return transformers


def parse_config(fields: Mapping[str, Any]) -> LlavaConfig:
    """The config that the `fields` of a config.json mean.

    Raises:
        ValueError: another model, or one with parts that this port does not compute.
    """
    require("model_type in config.json", fields.get("model_type"), ("llava", "llava_next"))
    transformers = import_transformers()
    family = {"llava": transformers.LlavaConfig, "llava_next": transformers.LlavaNextConfig}
    return llava_config(family[fields["model_type"]].from_dict(dict(fields)))


def read_config(path: str | Path) -> LlavaConfig:
    """The config of a Hugging Face folder of LLaVA-1.5 or LLaVA-1.6.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the folder holds another model, or one with parts that this port does not compute.
    """
    return parse_config(_fields(path))


def read_text_config(path: str | Path) -> TextConfig:
    """The config of a Hugging Face folder of a Llama or Mistral alone.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the folder holds another model, or one with parts that this port does not compute.
    """
    fields = _fields(path)
    require("model_type in config.json", fields.get("model_type"), ("llama", "mistral"))
    transformers = import_transformers()
    family = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig}
    return text_config(family[fields["model_type"]].from_dict(fields))


def _fields(path: str | Path) -> dict[str, Any]:
    file = Path(path) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"a model folder has a config.json, found none at {file}; check the path.")
    return json.loads(file.read_text())
