"""The fields of a config.json, checked: numbers that are numbers, and one value of what has two names.

The classes of transformers name a field of a wrong type, but not its part of the file, and accept 0 for a width.
"""

import math
from collections.abc import Mapping
from typing import Any

COUNTS = {
    "text_config": (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "sliding_window",
    ),
    "vision_config": (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
        "num_channels",
    ),
}
"""Fields of each part that are whole numbers from 1; a vision tower may have no block."""
CONSTANTS = {"text_config": ("rms_norm_eps", "rope_theta"), "vision_config": ("layer_norm_eps",)}
"""Fields of each part that are positive numbers."""
SIDES = ("image_size", "patch_size")
"""Fields that may be a pair of equal numbers."""
TWO_NAMES = (("image_token_index", "image_token_id"),)
TWO_NAMES_OF_TEXT = (("rope_theta", "rope_parameters.rope_theta"), ("rope_theta", "rope_scaling.rope_theta"))
"""Fields of a config.json that transformers knows by two names, for the whole model and for its language model."""
REMEDY = "write it as in the config.json of the published model, or download that again"


def require(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(
            f"{name} must be {' or '.join(repr(choice) for choice in allowed)}, got {value!r}; "
            f"this port computes nothing else."
        )


def check_llava_fields(fields: Mapping[str, Any]) -> None:
    """Raise ValueError if a field of the config.json of a LLaVA has a wrong type or two values."""
    _check_two_names(fields, TWO_NAMES)
    for part in ("text_config", "vision_config"):
        if not isinstance(inner := fields.get(part), Mapping | None):
            raise ValueError(f"{part} in config.json must be a JSON object, got {inner!r:.80}; {REMEDY}.")
    _check_whole(
        "image_token_index", fields.get("image_token_index", fields.get("image_token_id", 0)), least=0
    )
    _check_numbers(fields.get("vision_config") or {}, "vision_config")
    check_text_fields(fields.get("text_config") or {}, "text_config.")


def check_text_fields(fields: Mapping[str, Any], prefix: str = "") -> None:
    """Raise ValueError if a field of a Llama or Mistral has a wrong type or two values."""
    _check_numbers(fields, "text_config", prefix)
    _check_two_names(fields, TWO_NAMES_OF_TEXT, prefix)


def _check_numbers(fields: Mapping[str, Any], part: str, prefix: str | None = None) -> None:
    prefix = f"{part}." if prefix is None else prefix
    for name in COUNTS[part]:
        if (value := fields.get(name)) is not None:
            least = 0 if prefix + name == "vision_config.num_hidden_layers" else 1
            _check_whole(prefix + name, as_side(prefix + name, value) if name in SIDES else value, least)
    for name in CONSTANTS[part]:
        value = fields.get(name, 1.0)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value <= 0:
            raise ValueError(
                f"{prefix}{name} in config.json must be a positive number, got {value!r}; {REMEDY}."
            )


def _check_whole(name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} in config.json must be a whole number from {least}, got {value!r}; {REMEDY}."
        )


def as_side(name: str, value: Any) -> Any:
    """The side of a square, which may be written as a pair of equal numbers.

    Raises:
        ValueError: it is a pair of two numbers.
    """
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 2 or value[0] != value[1]:
        raise ValueError(
            f"{name} in config.json must be one number or a pair of equal ones, got {value}; this port has square "
            f"tiles of square patches."
        )
    return value[0]


def check_pinpoints(pinpoints: Any, tile: int) -> tuple[tuple[int, int], ...]:
    """The resolutions (height, width) of LLaVA-1.6, each of whole tiles.

    Raises:
        ValueError: they are not pairs of multiples of `tile`, or there are none.
    """
    pairs = pinpoints if isinstance(pinpoints, list | tuple) else ()
    is_valid = all(
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(side, int) and side > 0 and side % tile == 0 for side in pair)
        for pair in pairs
    )
    if not pairs or not is_valid:
        raise ValueError(
            f"image_grid_pinpoints must be pairs (height, width) of whole tiles of {tile} pixels, got {pinpoints!r}; "
            f"{REMEDY}."
        )
    return tuple((height, width) for height, width in pairs)


def _nested(fields: Mapping[str, Any], name: str) -> Any:
    value: Any = fields
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _check_two_names(fields: Mapping[str, Any], pairs: tuple[tuple[str, str], ...], prefix: str = "") -> None:
    for first, second in pairs:
        one, other = _nested(fields, first), _nested(fields, second)
        if one is not None and other is not None and one != other:
            raise ValueError(
                f"{prefix}{first} and {second} in config.json are two names of one number, got {one!r} and "
                f"{other!r}; delete the wrong one."
            )
