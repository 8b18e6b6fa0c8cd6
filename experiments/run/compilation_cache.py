"""The cache of compiled programs on disk (JAX's persistent compilation cache), on by default for the programs.

It lies in the user's cache folder, one folder for each kind of processor: XLA compiles for the instructions that the
processor has. The environment variable JAX_COMPILATION_CACHE_DIR names another folder, which several hosts should
share, since only process 0 writes it. A file that another process has half written is compiled again.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax

from experiments.run.folder.provenance import processor

OPTION = "--no-cache"
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
DAYS = 60
"""Age in days at which a program is deleted that was neither written nor read since."""


def enable_cache() -> None:
    """Store compiled programs from now on. A folder that cannot be written is no error: one sentence says so."""
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]  jax adds its options at run time
        return
    named = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  from the variable, or set before
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache entry")
    if named and "://" in named:
        return  # JAX itself opens object stores
    folder = Path(named) if named else default_folder()
    if fault := _fault(folder):
        disable_cache()
        print(
            f"compiled programs are not stored: {folder} cannot be written ({fault}); {VARIABLE} names another "
            f"folder, {OPTION} needs none.",
            file=sys.stderr,
        )
    elif not named:
        delete_old(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))


def disable_cache() -> None:
    """Compile everything anew, and store nothing."""
    jax.config.update("jax_enable_compilation_cache", False)  # noqa: FBT003  the name says what it is


def default_folder() -> Path:
    """Return the folder in the user's cache folder."""
    kind = hashlib.sha256("/".join(processor()).encode()).hexdigest()[:12]
    parent = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  Path.home() may raise
    return Path(parent) / "pdeformer" / f"jax-{kind}"


def delete_old(folder: Path) -> None:
    """Delete the programs that were not used for `DAYS`."""
    oldest = time.time() - DAYS * 24 * 3600
    with contextlib.suppress(OSError):  # another process deletes them too
        for path in folder.glob("*-cache"):
            status = path.stat()
            if max(status.st_mtime, status.st_atime) < oldest:
                path.unlink()


def _fault(folder: Path) -> str:
    """Create the folder if it is not there, and return why it cannot be written, "" if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)
