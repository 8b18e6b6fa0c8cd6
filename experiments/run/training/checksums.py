"""SHA-256 of the files of a checkpoint, saved beside them, so that a damaged file is noticed before it is restored.

A kill may fall between a checkpoint and its checksums: then `fault` only knows that no file is missing, and the caller
has to read the arrays.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from experiments.run.folder.atomic_files import write_atomically

CHECKSUMS = "checksums.json"
MARKERS = {CHECKSUMS, f"{CHECKSUMS}.part", "commit_success.txt"}
"""Files without content of the checkpoint."""


def write_checksums(checkpoint: Path) -> None:
    """Save the checksums of all files. This does nothing if the checkpoint disappears meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        content = json.dumps(_checksums(checkpoint), indent=1) + "\n"
        write_atomically(checkpoint / CHECKSUMS, content.encode())


def has_checksums(checkpoint: Path) -> bool:
    """Return whether the checksums were saved."""
    return (checkpoint / CHECKSUMS).exists()


def find_fault(checkpoint: Path) -> str:
    """Return what is wrong with the files of a checkpoint, "" if they equal those that were saved."""
    try:
        saved = json.loads((checkpoint / CHECKSUMS).read_bytes())
        for name in sorted(saved):
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if sha256(checkpoint / name) != saved[name]:
                return f"{name} is not as it was saved"
    except (ValueError, TypeError):
        return f"{CHECKSUMS} is no table of checksums"
    except OSError as error:
        return f"{error.filename or checkpoint} cannot be read ({error.strerror})"
    return ""


def _checksums(checkpoint: Path) -> dict[str, str]:
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name not in MARKERS)
    return {path.relative_to(checkpoint).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
