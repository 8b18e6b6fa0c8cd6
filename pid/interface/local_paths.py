"""Paths that `open` can read and write, against addresses of object stores, which it cannot."""

import re
from os import PathLike
from pathlib import Path
from typing import Any

from pid.interface.command_options import options_of

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""Start of an address such as gs://bucket/run. `Path` makes gs:/bucket/run of it, a folder on this machine."""


def check_local(path: str | PathLike[str], name: str) -> None:
    """Raise ValueError if a path is an address such as gs://bucket/run, with the remedy.

    The files need what an object store lacks: locks, atomic renaming and appending.

    Args:
        path: the path.
        name: the option that has it, or what it is.
    """
    text = str(path)
    if (match := SCHEME.match(text)) is None:
        return
    rest = text[match.end() :]
    if match.group(1).lower() == "file":
        raise ValueError(f"{name} is a path without a scheme, got {text}; write /{rest}.")
    option = f"{name} " if name.startswith("--") else ""
    raise ValueError(
        f"{name} is a path of a mounted file system, which has locks and renames files, got {text}; use Filestore or "
        f"another shared disk, or mount the bucket with gcsfuse, and write for example {option}/mnt/{rest}."
    )


def check_paths(config: Any) -> None:
    """Raise ValueError for the first path of a configuration that is an address, with the name of its option."""
    for option in options_of(config):
        value: Any = config
        for field in option.path:
            value = getattr(value, field)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                check_local(path, f"--{option.name}")
