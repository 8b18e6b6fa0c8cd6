"""Write small files as a whole, and read them with errors that name the file."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np


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


def check_file(path: Path) -> None:
    """Raise FileExistsError if the path is there but no file that can be read and written."""
    state = _state_of_none(path)
    if state is None:
        return
    if not state and not path.is_file():
        state = "a folder" if path.is_dir() else "neither file nor folder"
    if not state and not os.access(path, os.R_OK | os.W_OK):
        state = "a file that this user may not read and write"
    if state:
        raise FileExistsError(f"{path} must be a file, got {state}; move it away, or put the file back.")


def _state_of_none(path: Path) -> str | None:
    """Return None if the path is not there, "" if it is, and words for a link to nothing."""
    if path.exists():
        return ""
    return "a link to nothing" if path.is_symlink() else None


def check_subfolder(path: Path) -> None:
    """Raise FileExistsError if the path is there but no folder that can be read and written."""
    state = _state_of_none(path)
    if state is None:
        return
    if not state and not path.is_dir():
        state = "a file"
    if not state and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        state = "a folder that this user may not read and write"
    if state:
        raise FileExistsError(
            f"{path} must be a folder, got {state}; move it away, or change its permissions."
        )


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name. Arguments and errors are those of `read_json`."""
    check_file(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} must be a whole .npz, got: {error}; {remedy}.") from None


def read_json(path: Path, remedy: str) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        remedy: what the user can do if the file is damaged, for the error.

    Raises:
        FileExistsError: it is no file.
        ValueError: the file is no JSON. The message names the file, the place and the remedy.
    """
    check_file(path)
    content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        fault = f"{len(content)} bytes ({error})" if content else "an empty file"
        raise ValueError(f"{path} must be JSON, got {fault}; {remedy}.") from None
