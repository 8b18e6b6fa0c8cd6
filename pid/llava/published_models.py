"""The published 7B checkpoints, as far as their config.json tells: what equals the default of its class is left out.

[huggingface.co/llava-hf]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pid.llava.config import LlavaConfig, parse_config


@dataclass(frozen=True)
class Published:
    """A checkpoint on the Hugging Face hub."""

    fields: Mapping[str, Any]
    """What its config.json says."""
    tokens: int
    """Length of the batches that prompts with one image are padded to."""
    tiles: int
    """Most tiles of an image."""

    @property
    def config(self) -> LlavaConfig:
        """Its sizes and choices, the defaults filled in by transformers."""
        return parse_config(self.fields)


PUBLISHED = {
    "llava-1.5-7b-hf": Published(
        fields={
            "model_type": "llava",
            "text_config": {"model_type": "llama", "vocab_size": 32064, "rms_norm_eps": 1e-5},
        },
        tokens=640,  # 576 of the image
        tiles=1,
    ),
    "llava-v1.6-mistral-7b-hf": Published(
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
"""By name on the hub."""
