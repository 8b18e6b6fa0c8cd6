"""The folder that a cache, a store or a saved model is written to, checked before anything long."""

from os import PathLike
from pathlib import Path

from pid.interface.local_paths import check_local


def output_folder(what: str, path: object) -> Path:
    """The path of a folder that may be written. It is not created.

    Args:
        what: what the folder is for, with its article.
        path: the path, whose last parts need not exist.

    Raises:
        FileExistsError: the path, or a part of it, is a file.
        TypeError: it is no path.
        ValueError: it is the address of an object store.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"{what} is the path of a folder, got {type(path).__name__}; name a folder.")
    check_local(path, what)
    folder: Path = Path(path)
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            got = f"the file {folder}" if part == folder else f"{folder} below the file {part}"
            raise FileExistsError(f"{what} is a folder, got {got}; name another folder.")
    return folder


def create_folder(what: str, folder: Path) -> None:
    """Create a folder and those above it.

    Raises:
        OSError: the system refuses; the message names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{what} is a folder that this process may create, got {folder}: {error.strerror}; name another folder."
        ) from error
