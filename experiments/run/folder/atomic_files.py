"""Write small files as a whole, and read them with errors that name the file."""

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file. After a kill or a power failure at any moment it has either the old content or the new one."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    force_to_disk(path.parent)


def force_to_disk(path: Path) -> None:
    """Sync a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, remedy: str) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        remedy: what the user can do if the file is damaged, for the error.

    Raises:
        ValueError: the file is no JSON. The message names the file, the place and the remedy.
    """
    content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        fault = f"{len(content)} bytes ({error})" if content else "an empty file"
        raise ValueError(f"{path} must be JSON, got {fault}; {remedy}.") from None
