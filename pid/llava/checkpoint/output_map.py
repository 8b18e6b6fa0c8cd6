"""The output map and the embedding: one tensor or two.

A config says whether they are tied, and the tensors may say otherwise. As in Hugging Face, an output map that is stored
with other values than the embedding is used, and if only one of the two is stored, it serves as both.

V vocabulary, D channels
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pid.llava.checkpoint.safetensors_io import LazyTensor
from pid.llava.config import TextConfig

EMBEDDING = "language_model.embed_tokens.weight"
OUTPUT_MAP = "lm_head.weight"
ROWS = 1024  # of both tensors, compared at a time


def as_stored(config: TextConfig, tensors: Mapping[str, LazyTensor], dtype: Any) -> TextConfig:
    """The configuration, untied if the output map is stored with other values than the embedding in `dtype`."""
    if not config.tie_embeddings or not {EMBEDDING, OUTPUT_MAP} <= tensors.keys():
        return config
    embedding, output_map = tensors[EMBEDDING], tensors[OUTPUT_MAP]
    count = embedding.shape[0]
    is_same = embedding.shape == output_map.shape and all(
        np.array_equal(embedding.read(rows).astype(dtype), output_map.read(rows).astype(dtype))
        for rows in ((slice(first, min(first + ROWS, count)),) for first in range(0, count, ROWS))
    )
    return config if is_same else replace(config, tie_embeddings=False)


def warn_of_stored_output_map(where: str) -> None:
    """Warn that the stored output map is used although the config ties it to the embedding."""
    warnings.warn(
        f"an output map that is tied to the embedding has its values, got a different {OUTPUT_MAP} in {where}; the "
        f"stored one is used, as in Hugging Face. Set tie_word_embeddings to false to say so.",
        stacklevel=3,
    )


def fill_embedding(config: TextConfig, tensors: Mapping[str, LazyTensor]) -> Mapping[str, LazyTensor]:
    """The tensors, with the output map as the embedding if they are tied and only the output map is stored."""
    if not config.tie_embeddings or EMBEDDING in tensors or OUTPUT_MAP not in tensors:
        return tensors
    return {**tensors, EMBEDDING: tensors[OUTPUT_MAP]}
