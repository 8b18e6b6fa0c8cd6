"""The fields of a config.json as a configuration of transformers, which fills in the defaults and needs no torch."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from pid.llava.model_folder.field_checks import REMEDY, check_llava_fields, check_text_fields, require

JSON_TYPES = {
    "int": "a whole number",
    "float": "a number with a point",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "an object",
    "NoneType": "null",
}
"""Type in a message of transformers → what it is in JSON."""


def _is_not_about_torch(record: logging.LogRecord) -> bool:
    """Return False for the message of transformers that torch is missing: this package does not need torch."""
    return not record.getMessage().startswith("PyTorch was not found")


def import_transformers() -> Any:
    """Import transformers on first use, since this takes seconds, and hide its message that torch is missing."""
    logging.getLogger("transformers").addFilter(_is_not_about_torch)
    import transformers

    return transformers


def hugging_face_config(fields: Mapping[str, Any]) -> Any:
    """The LlavaConfig or LlavaNextConfig of transformers that the `fields` of a config.json describe.

    Raises:
        ValueError: it is another model, a field is of a wrong type, or two names of one field have two values.
    """
    require("model_type in config.json", fields.get("model_type"), ("llava", "llava_next"))
    check_llava_fields(fields)
    return _build({"llava": "LlavaConfig", "llava_next": "LlavaNextConfig"}, fields)


def hugging_face_text_config(fields: Mapping[str, Any]) -> Any:
    """The LlamaConfig or MistralConfig of transformers that the `fields` of a config.json describe.

    Raises:
        ValueError: it is another model, a field is of a wrong type, or two names of one field have two values.
    """
    require("model_type in config.json", fields.get("model_type"), ("llama", "mistral"))
    check_text_fields(fields)
    return _build({"llama": "LlamaConfig", "mistral": "MistralConfig"}, fields)


def _build(classes: Mapping[str, str], fields: Mapping[str, Any]) -> Any:
    transformers = import_transformers()
    from huggingface_hub.errors import StrictDataclassError

    try:
        return getattr(transformers, classes[fields["model_type"]]).from_dict(dict(fields))
    except (StrictDataclassError, TypeError, ValueError, ZeroDivisionError, KeyError) as error:
        raise ValueError(_sentence(fields, error)) from error


def _sentence(fields: Mapping[str, Any], error: Exception) -> str:
    """What transformers refuses: the field with its part, its value and the types it may have; else its own words."""
    name = re.match(r"Validation error for field '(\w+)'", str(error))
    if name is None:
        reason = " ".join(str(error).rpartition("Error:")[2].split()).rstrip(".")
        return f"config.json must fit a model of transformers, got one that it refuses: {reason}; {REMEDY}."
    values = {
        prefix + name[1]: part[name[1]]
        for prefix in ("", "text_config.", "vision_config.")
        if name[1] in (part := fields if not prefix else fields.get(prefix[:-1]) or {})
    }
    refused = {field: value for field, value in values.items() if _shows(value, str(error))} or values
    kinds = dict.fromkeys(re.findall(r" expected (?:an? )?(\w+)", str(error)))
    types = " or ".join(JSON_TYPES[kind] for kind in kinds if kind in JSON_TYPES)
    got = ", ".join(f"{field}={value!r:.80}" for field, value in refused.items())
    return f"{name[1]} in config.json must be {types or 'of another type'}, got {got or 'none'}; {REMEDY}."


def _shows(value: Any, text: str) -> bool:
    return f"value: {value!r}" in text or f"with value {value!r}" in text
