"""The file config.json of a model folder, as fields and as a configuration of transformers.

A config.json omits every value that equals the default of its class. It is therefore read through the classes of
transformers, which need no torch.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TWO_NAMES = (("image_token_index", "image_token_id"),)
TWO_NAMES_OF_TEXT = (("rope_theta", "rope_parameters.rope_theta"), ("rope_theta", "rope_scaling.rope_theta"))
"""Fields of a config.json that transformers knows by two names, for the whole model and for its language model."""


def require(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(
            f"{name} must be {' or '.join(repr(choice) for choice in allowed)}, got {value!r}; "
            f"this port computes nothing else."
        )


def _is_not_about_torch(record: logging.LogRecord) -> bool:
    """Return False for the message of transformers that torch is missing: this package does not need torch."""
    return not record.getMessage().startswith("PyTorch was not found")


def import_transformers() -> Any:
    """Import transformers on first use, since this takes seconds, and hide its message that torch is missing."""
    logging.getLogger("transformers").addFilter(_is_not_about_torch)
    import transformers

    return transformers


def config_fields(path: str | Path) -> dict[str, Any]:
    """The fields of the config.json of a folder.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the file is no JSON object.
    """
    file = Path(path) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"a model folder has a config.json, found none at {file}; check the path.")
    return json_object(file)


def json_object(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: the file is no JSON object.
    """
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{file.name} is JSON, got {error} in {file}; download it again.") from error
    if not isinstance(fields, dict):
        raise ValueError(
            f"{file.name} is a JSON object, got {type(fields).__name__} in {file}; download it again."
        )
    return fields


def _nested(fields: Mapping[str, Any], name: str) -> Any:
    value: Any = fields
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _check_two_names(fields: Mapping[str, Any], pairs: tuple[tuple[str, str], ...]) -> None:
    for first, second in pairs:
        one, other = _nested(fields, first), _nested(fields, second)
        if one is not None and other is not None and one != other:
            raise ValueError(
                f"{first} and {second} in config.json are two names of one number, got {one!r} and {other!r}; delete "
                f"the wrong one."
            )


def hugging_face_config(fields: Mapping[str, Any]) -> Any:
    """The LlavaConfig or LlavaNextConfig of transformers that the `fields` of a config.json describe.

    Raises:
        ValueError: it is another model, or two names of one field have two values.
    """
    require("model_type in config.json", fields.get("model_type"), ("llava", "llava_next"))
    _check_two_names(fields, TWO_NAMES)
    text = fields.get("text_config")
    _check_two_names(text if isinstance(text, Mapping) else {}, TWO_NAMES_OF_TEXT)
    transformers = import_transformers()
    family = {"llava": transformers.LlavaConfig, "llava_next": transformers.LlavaNextConfig}
    return family[fields["model_type"]].from_dict(dict(fields))
