"""The parity prompt: a fixed question about a fixed picture, a red disc on a blue background.

B batch (one), T tokens, M tiles, P patches of a tile, C channels, L layers, D width, V vocabulary
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int

from pid.llava.config import LlavaConfig
from pid.llava.model_folder.transformers_config import import_transformers
from pid.llava.preprocessing.anyres import best_resolution
from pid.llava.preprocessing.device_inputs import image_rows
from pid.llava.preprocessing.images import DEVIATION, MEAN
from pid.llava.preprocessing.processor import FILES
from pid.llava.tokens import TokenType

BEFORE = "USER: "
AFTER = "\nWhat color is the disc? Answer the question using a single word or phrase. ASSISTANT:"


class ParityPrompt(NamedTuple):
    """A batch of one prompt: the arguments of `forward`. C are the three colors."""

    input_ids: Int[np.ndarray, "one t"]
    """Token ids (1, T)."""
    token_types: Int[np.ndarray, "one t"]
    """TEXT before the image, IMAGE, QUESTION after it, LAST."""
    pixel_values: Float[np.ndarray, "..."]
    """(1, 3, side, side), in LLaVA-1.6 (1, M, 3, side, side)."""
    image_sizes: Int[np.ndarray, "one two"] | None
    """LLaVA-1.6: (height, width) of the picture."""


class ModelStates(NamedTuple):
    """The states that a model computes for the parity prompt."""

    vision: np.ndarray
    """The states of the vision tower (depth + 1, M, 1 + P, C)."""
    baseline: Mapping[str, np.ndarray]
    """`residual` (L+1, B, T, D), `final` (B, T, D) and `logits` (B, T, V) without a knockout."""
    knockout: Mapping[str, np.ndarray]
    """The same with Image→Question attention removed in all layers."""


def picture(height: int, width: int) -> Float[np.ndarray, "y x c"]:
    """A red disc on a blue background that gets lighter downward, in 0 … 1; squashed if not square."""
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None] + 0.5) / width
    disc = (y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.3**2
    ground = np.stack([0.1 + 0.3 * y, 0.2 + 0.4 * y, 0.7 + 0.2 * y], axis=-1)
    return np.where(disc[..., None], np.array([0.85, 0.1, 0.1])[None, None], ground).astype(np.float32)


def normalize_colors(image: Float[np.ndarray, "*m y x c"]) -> Float[np.ndarray, "*m c y x"]:
    """Standardize colors in 0 … 1 as CLIP does, (value - mean) / deviation, and move their axis first."""
    mean, deviation = (np.array(values, np.float32) for values in (MEAN, DEVIATION))
    return np.moveaxis((image - mean) / deviation, -1, -3)


def anyres_picture(config: LlavaConfig, size: tuple[int, int]) -> Float[np.ndarray, "m c y x"]:
    """The LLaVA-1.6 tiles of the picture at `size`: squashed to one tile; then scaled to fit, centered and tiled."""
    side = config.vision.image_size
    height, width = best_resolution(size, config.pinpoints or ())
    scale = min(height / size[0], width / size[1])
    inner = picture(round(size[0] * scale), round(size[1] * scale))
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas = np.zeros((height, width, 3), np.float32)
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    grid = rearrange(canvas, "(j y) (i x) c -> (j i) y x c", y=side, x=side)
    return normalize_colors(np.concatenate([picture(side, side)[None], grid]))


def read_tokenizer(path: Path) -> Any | None:
    """The tokenizer of a Hugging Face folder, or None if it has none."""
    if not any((path / name).is_file() for name in FILES["a tokenizer"]):
        return None
    return import_transformers().AutoTokenizer.from_pretrained(path, local_files_only=True)


def word_ids(config: LlavaConfig, tokenizer: Any | None) -> tuple[list[int], list[int]]:
    """The token ids before and after the image; without a tokenizer, ids spread over the vocabulary."""
    if tokenizer is not None:
        after = tokenizer(AFTER, add_special_tokens=False)["input_ids"]
        return tokenizer(BEFORE)["input_ids"], after
    spread = np.linspace(1, config.text.vocab_size - 1, 26).astype(int)
    ids = [int(word) for word in spread if word != config.image_token]
    return ids[:5], ids[5:]


def parity_prompt(config: LlavaConfig, tokenizer: Any | None = None) -> ParityPrompt:
    """The parity prompt of a model.

    In LLaVA-1.6 the picture is three quarters as wide as the first resolution of the configuration.
    """
    if config.pinpoints is None:
        size, side = None, config.vision.image_size
        pixels = normalize_colors(picture(side, side))
        count = config.vision.patches
    else:
        height, width = config.pinpoints[0]
        size = (height, 3 * width // 4)
        pixels = anyres_picture(config, size)
        count = len(image_rows(config, size, len(pixels)))
    before, after = word_ids(config, tokenizer)
    types = (
        [TokenType.TEXT] * len(before)
        + [TokenType.IMAGE] * count
        + [TokenType.QUESTION] * (len(after) - 1)
        + [TokenType.LAST]
    )
    return ParityPrompt(
        input_ids=np.array([[*before, *[config.image_token] * count, *after]], np.int32),
        token_types=np.array([types], np.int32),
        pixel_values=pixels[None],
        image_sizes=None if size is None else np.array([size], np.int32),
    )
