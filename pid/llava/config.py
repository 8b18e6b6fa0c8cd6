"""Configurations of LLaVA models, read from the config.json of a Hugging Face folder.

A config.json omits every value that equals the default of its class. It is therefore read through the classes of
transformers, which need no torch. A model with parts that this port does not compute raises an error that names them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pid.interface.deprecation import accept_former_fields
from pid.llava.model_folder.config_json import read_config_fields
from pid.llava.model_folder.field_checks import as_side, check_pinpoints, require
from pid.llava.model_folder.transformers_config import hugging_face_config, hugging_face_text_config

VISION_FIELDS = {"width": "hidden_size", "ffn": "mlp_dim", "heads": "num_heads", "eps": "norm_eps"}
TEXT_FIELDS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "ffn": "mlp_dim",
    "layers": "num_layers",
    "heads": "num_heads",
    "kv_heads": "num_kv_heads",
    "head_width": "head_dim",
    "eps": "norm_eps",
    "theta": "rope_theta",
    "window": "sliding_window",
    "tied": "tie_embeddings",
}
"""Old name → name of a field. Stores of activations have the old names on disk."""


@accept_former_fields(**VISION_FIELDS)
@dataclass(frozen=True)
class VisionConfig:
    """Configuration of a CLIP vision tower, up to the layer whose output LLaVA uses.

    Example:
        >>> from pid import llava
        >>> vision = llava.VisionConfig(
        ...     hidden_size=1024, mlp_dim=4096, num_heads=16, depth=23, image_size=336, patch_size=14,
        ...     channels=3, activation="quick_gelu", norm_eps=1e-5,
        ... )
        >>> vision.side, vision.patches
        (24, 576)

    Reference:
        Radford et al. 2021, Learning transferable visual models from natural language supervision.
    """

    hidden_size: int
    """Channels C."""
    mlp_dim: int
    """Hidden width of the feed-forward sublayer."""
    num_heads: int
    """Attention heads N."""
    depth: int
    """Number of blocks that are loaded and computed. The output of the last one is the image feature."""
    image_size: int
    """Pixels along the side of a tile."""
    patch_size: int
    """Pixels along the side of a patch."""
    channels: int
    """Color channels of the image."""
    activation: str
    """"quick_gelu" or "gelu"."""
    norm_eps: float
    """Constant that LayerNorm adds to the variance."""

    @property
    def side(self) -> int:
        """Patches along the side of a tile."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches P of a tile."""
        return self.side**2


@accept_former_fields(**TEXT_FIELDS)
@dataclass(frozen=True)
class TextConfig:
    """Configuration of a Llama or Mistral language model.

    Example:
        >>> from pid import llava
        >>> text = llava.TextConfig(
        ...     vocab_size=32064, hidden_size=4096, mlp_dim=11008, num_layers=32, num_heads=32, num_kv_heads=32,
        ...     head_dim=128, norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> text.num_layers, text.hidden_size
        (32, 4096)

    Reference:
        Touvron et al. 2023, LLaMA; Jiang et al. 2023, Mistral 7B.
    """

    vocab_size: int
    """Number of token ids V."""
    hidden_size: int
    """Channels D of the residual stream."""
    mlp_dim: int
    """Hidden width of the feed-forward sublayer."""
    num_layers: int
    """Transformer blocks L."""
    num_heads: int
    """Query heads N."""
    num_kv_heads: int
    """Key and value heads K. Each serves N/K query heads."""
    head_dim: int
    """Width H of a head."""
    norm_eps: float
    """Constant that RMSNorm adds to the mean square."""
    rope_theta: float
    """Base of the rotary wavelengths."""
    sliding_window: int | None
    """Length of the sliding attention window in tokens, or None. Longer sequences are refused."""
    tie_embeddings: bool
    """Whether the embedding is also the output map."""


@dataclass(frozen=True)
class LlavaConfig:
    """Configuration of a LLaVA: vision tower, projector and language model.

    Example:
        >>> from pid import llava
        >>> vision = llava.VisionConfig(
        ...     hidden_size=8, mlp_dim=8, num_heads=2, depth=1, image_size=4, patch_size=2, channels=3,
        ...     activation="quick_gelu", norm_eps=1e-5,
        ... )
        >>> text = llava.TextConfig(
        ...     vocab_size=24, hidden_size=8, mlp_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=4,
        ...     norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> config = llava.LlavaConfig(vision, text, image_token=23, pinpoints=None)
        >>> config.text.num_layers, config.vision.patches
        (2, 4)

    Reference:
        Liu et al. 2023, Improved baselines with visual instruction tuning (LLaVA-1.5).
    """

    vision: VisionConfig
    """The vision tower."""
    text: TextConfig
    """The language model."""
    image_token: int
    """The token id whose embeddings are replaced by image features."""
    pinpoints: tuple[tuple[int, int], ...] | None
    """LLaVA-1.6: the resolutions (height, width) an image may be scaled to. None is LLaVA-1.5, one tile per image."""


def config_fields_on_disk(config: LlavaConfig) -> dict[str, Any]:
    """The configuration as a dictionary, with the field names that stores of activations have on disk."""

    def by_old_names(part: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
        old = {new: old for old, new in renamed.items()}
        return {old.get(name, name): value for name, value in dataclasses.asdict(part).items()}

    vision, text = by_old_names(config.vision, VISION_FIELDS), by_old_names(config.text, TEXT_FIELDS)
    return dataclasses.asdict(config) | {"vision": vision, "text": text}


def text_config(config: Any) -> TextConfig:
    """Convert a LlamaConfig or MistralConfig of transformers to a `TextConfig`.

    Raises:
        ValueError: it is another model, or it has scaled RoPE, biases or an activation other than SiLU.
    """
    require("the text model", config.model_type, ("llama", "mistral"))
    require("hidden_act of the text model", config.hidden_act, ("silu",))
    require("rope_type", config.rope_parameters.get("rope_type", "default"), ("default",))
    for bias in ("attention_bias", "mlp_bias"):
        require(bias, getattr(config, bias, False), (False,))
    if config.num_attention_heads % config.num_key_value_heads:
        raise ValueError(
            f"each key and value head serves as many query heads, got num_key_value_heads="
            f"{config.num_key_value_heads} for num_attention_heads={config.num_attention_heads} in config.json; "
            f"correct it."
        )
    return TextConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        mlp_dim=config.intermediate_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
        norm_eps=float(config.rms_norm_eps),
        rope_theta=float(config.rope_parameters["rope_theta"]),
        sliding_window=config.sliding_window
        if config.model_type == "mistral"
        else None,  # as in Hugging Face
        tie_embeddings=config.tie_word_embeddings,
    )


def vision_config(config: Any, feature_layer: int | list[int]) -> VisionConfig:
    """Convert a CLIPVisionConfig of transformers to a `VisionConfig`.

    The depth is the number of blocks before hidden state `feature_layer`. Hidden state 0 is the input of the first
    block, and -1 is the output of the last.

    Raises:
        ValueError: it is another tower, or `feature_layer` is a list or does not exist.
    """
    require("the vision tower", config.model_type, ("clip_vision_model",))
    require("hidden_act of the vision tower", config.hidden_act, ("quick_gelu", "gelu"))
    layers = config.num_hidden_layers
    if not isinstance(feature_layer, int) or not -layers - 1 <= feature_layer <= layers:
        raise ValueError(
            f"vision_feature_layer must be one hidden state of {layers + 1}, -{layers + 1} … {layers}, "
            f"got {feature_layer}; this port takes one of these numbers, and no list of them."
        )
    image_size, patch_size = (as_side(name, getattr(config, name)) for name in ("image_size", "patch_size"))
    if image_size % patch_size:
        raise ValueError(
            f"a tile has whole patches, got image_size={image_size} and patch_size={patch_size} in the vision_config "
            f"of config.json; correct it."
        )
    return VisionConfig(
        hidden_size=config.hidden_size,
        mlp_dim=config.intermediate_size,
        num_heads=config.num_attention_heads,
        depth=feature_layer % (layers + 1),
        image_size=image_size,
        patch_size=patch_size,
        channels=config.num_channels,
        activation=config.hidden_act,
        norm_eps=float(config.layer_norm_eps),
    )


def llava_config(config: Any) -> LlavaConfig:
    """Convert a LlavaConfig or LlavaNextConfig of transformers to our `LlavaConfig`.

    Raises:
        ValueError: the model has a part that this port does not compute; the message names it.
    """
    require("the model", config.model_type, ("llava", "llava_next"))
    require("vision_feature_select_strategy", config.vision_feature_select_strategy, ("default",))
    require("projector_hidden_act", config.projector_hidden_act, ("gelu",))
    require("multimodal_projector_bias", config.multimodal_projector_bias, (True,))
    vision = vision_config(config.vision_config, config.vision_feature_layer)
    is_anyres = config.model_type == "llava_next"
    return LlavaConfig(
        vision=vision,
        text=replace(text_config(config.text_config), tie_embeddings=config.tie_word_embeddings),
        image_token=config.image_token_index,
        pinpoints=check_pinpoints(config.image_grid_pinpoints, vision.image_size) if is_anyres else None,
    )


def parse_config(fields: Mapping[str, Any]) -> LlavaConfig:
    """The configuration that the `fields` of a config.json describe.

    Raises:
        ValueError: it is another model, or one with parts that this port does not compute.
    """
    return llava_config(hugging_face_config(fields))


def read_config(path: str | Path) -> LlavaConfig:
    """Read the configuration of a Hugging Face folder of LLaVA-1.5 or LLaVA-1.6.

    Args:
        path: the folder, which has a config.json.

    Returns:
        The configuration, with the defaults of transformers filled in.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the folder holds another model, or one with parts that this port does not compute.

    Example::

        config = llava.read_config("llava-1.5-7b-hf")
        config.text.hidden_size, config.vision.depth            # (4096, 23)

    The example is not executed, because it needs the files of a model.
    """
    return parse_config(read_config_fields(path))


def vision_layers_of(path: str | Path) -> int:
    """The number of blocks of the vision tower by the config.json of a folder, whether they are computed or not."""
    return hugging_face_config(read_config_fields(path)).vision_config.num_hidden_layers


def read_text_config(path: str | Path) -> TextConfig:
    """Read the configuration of a Hugging Face folder of a text-only Llama or Mistral.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the folder holds another model, or one with parts that this port does not compute.
    """
    return text_config(hugging_face_text_config(read_config_fields(path)))
