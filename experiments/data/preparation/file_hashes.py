"""SHA-256 of files, computed once per machine and computed again if size or time of change differ."""

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.run.folder.atomic_files import write_atomically


class FileHashes:
    """The hashes of files that this machine has read before.

    They stand in `hashes-HOST.json`. Without permission to write there, every process reads its files again.

    Args:
        folder: folder for the hashes.
    """

    def __init__(self, folder: Path) -> None:
        """Read the hashes of earlier processes; a damaged file of hashes is as good as none."""
        self._path = folder / f"hashes-{platform.node() or 'unknown'}.json"
        self._entries: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(self._path.read_bytes())
            self._entries = entries if isinstance(entries, dict) else {}

    def sha256(self, path: Path, *, again: bool = False) -> str:
        """Return the SHA-256 of a file in hexadecimal digits.

        Args:
            path: the file.
            again: read the file even if its size and its time of change are those of the last time.
        """
        status = path.stat()
        key, state = str(path.absolute()), [status.st_size, status.st_mtime_ns]
        entry = self._entries.get(key)
        if not again and isinstance(entry, list) and entry[:-1] == state:
            return entry[-1]
        digest = sha256(path)
        self._entries[key] = [*state, digest]
        self._save()
        return digest

    def _save(self) -> None:
        with contextlib.suppress(OSError):  # a folder that is only readable
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, (json.dumps(self._entries, indent=1) + "\n").encode())


def known_content(read: Callable[[Path], str], manual_dir: Path | None) -> str | None:
    """Return the hash of published files as far as it is known: a star without their folder, for any hash.

    Args:
        read: function that returns the hash of the files in a folder, and raises FileNotFoundError without them.
        manual_dir: the folder.

    Returns:
        The hash; `*` if there is no folder, None if the folder does not have the files.
    """
    if manual_dir is None:
        return "*"
    with contextlib.suppress(FileNotFoundError):
        return read(manual_dir)
    return None


def sha256(path: Path) -> str:
    """Read a file and return its SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_hash(digests: list[str]) -> str:
    """Return one SHA-256 for several files, given theirs in a fixed order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
