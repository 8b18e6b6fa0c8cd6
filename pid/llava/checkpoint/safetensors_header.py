"""The header of a safetensors file: names, shapes and places of its tensors, read without them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pid.llava.model_folder.config_json import is_lfs_pointer


def damage_error(file: Path, error: object) -> ValueError:
    """The error of a weight file that is not whole."""
    size = file.stat().st_size
    if is_lfs_pointer(file):
        return ValueError(
            f"a file of weights must be whole, got {file.name} of {size} bytes: a Git LFS pointer; run git lfs pull in "
            f"{file.parent}."
        )
    return ValueError(
        f"a file of weights must be whole, got {file.name} of {size} bytes: {error}; download it again."
    )


class Header(NamedTuple):
    """The header of a safetensors file, which precedes its tensors."""

    text: bytes
    """The header itself, JSON."""
    byte_ranges: dict[str, tuple[int, int]]
    """For each key the bytes of the file that hold its tensor: the first one and one past the last."""
    kinds: dict[str, tuple[str, tuple[int, ...]]]
    """For each key the dtype, by the name of the format, and the shape of its tensor."""


def read_header(file: Path) -> Header:
    """Read the header of a safetensors file: 8 bytes with its length, little-endian, then JSON with offsets.

    Raises:
        ValueError: the file is damaged.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, file.stat().st_size))
    try:
        fields: Mapping[str, Any] = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        offsets = {key: field["data_offsets"] for key, field in fields.items()}
        kinds = {key: (field["dtype"], tuple(field["shape"])) for key, field in fields.items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise damage_error(file, error) from error
    start = 8 + len(text)
    return Header(text, {key: (start + first, start + last) for key, (first, last) in offsets.items()}, kinds)
