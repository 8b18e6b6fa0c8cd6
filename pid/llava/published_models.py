"""The published 7B checkpoints: the content of their config.json, and the size of their batches.

Values that equal the default of the transformers class are left out, as in the files themselves.
[huggingface.co/llava-hf]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pid.llava.config import LlavaConfig, parse_config


@dataclass(frozen=True)
class PublishedModel:
    """A checkpoint on the Hugging Face hub.

    Example:
        >>> from pid import llava
        >>> model = llava.PUBLISHED_MODELS["llava-v1.6-mistral-7b-hf"]
        >>> model.tokens, model.tiles
        (3008, 5)
    """

    fields: Mapping[str, Any]
    """The content of its config.json."""
    tokens: int
    """Length in tokens to which prompts with one image are padded."""
    tiles: int
    """Largest number of tiles of an image."""

    @property
    def config(self) -> LlavaConfig:
        """Its configuration, with the defaults of transformers filled in."""
        return parse_config(self.fields)


PUBLISHED_MODELS = {
    "llava-1.5-7b-hf": PublishedModel(
        fields={
            "model_type": "llava",
            "text_config": {"model_type": "llama", "vocab_size": 32064, "rms_norm_eps": 1e-5},
        },
        tokens=640,  # 576 of the image
        tiles=1,
    ),
    "llava-v1.6-mistral-7b-hf": PublishedModel(
        fields={
            "model_type": "llava_next",
            "text_config": {
                "model_type": "mistral",
                "vocab_size": 32064,
                "intermediate_size": 14336,
                "num_key_value_heads": 8,
                "max_position_embeddings": 32768,
                "rms_norm_eps": 1e-5,
                "rope_theta": 1e6,
                "sliding_window": None,
            },
        },
        tokens=3008,  # up to 2928 of the image
        tiles=5,
    ),
}
"""The published models by their name on the hub."""
