"""Access to the files of a GQA download, in folders or in the downloaded archives."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import cast


class Download:
    """Access to files by name: first in the folders, then in the archive, all below `root`.

    An archive is indexed once and its files are read from it, so nothing needs to be extracted.

    Raises:
        ValueError: the archive is not a zip archive.
    """

    def __init__(self, root: Path, archive: str, folders: tuple[str, ...]) -> None:
        """Index the archive, if there is one."""
        self._root, self._archive, self._folders = root, archive, folders
        path = root / archive
        try:
            self._zip = zipfile.ZipFile(path) if path.is_file() else None
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{archive} must be a whole zip archive, got: {error}; download it again, or extract the undamaged "
                f"files to {folders[0]}/."
            ) from None
        members = self._zip.namelist() if self._zip else ()
        self._members = {PurePosixPath(member).name: member for member in members}

    def __contains__(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        return self._extracted_path(name) is not None or _basename(name) in self._members

    def open(self, name: str) -> io.BufferedIOBase:
        """Open the file of that name, a path below the folder.

        Raises:
            FileNotFoundError: no such file; the message names the locations searched.
        """
        if path := self._extracted_path(name):
            return path.open("rb")
        if self._zip and _basename(name) in self._members:
            return cast(io.BufferedIOBase, self._zip.open(self._members[_basename(name)]))
        raise FileNotFoundError(
            f"GQA needs the file {name}, found in neither {self.locations} below {self._root}; download "
            f"{self._archive} from the site of GQA into that folder."
        )

    def describe(self, suffix: str) -> Iterator[tuple[str, ...]]:
        """Yield one description for each file with this suffix. Files of other content have another description.

        A member of the archive is described by name, size and CRC-32, a file of a folder by name, size and time of
        change, so that no content is read.
        """
        for folder in self._folders:
            base = self._root / folder
            for path in sorted([*base.glob(f"*{suffix}"), *base.glob(f"train_all_questions/*{suffix}")]):
                status = path.stat()
                yield path.name, str(status.st_size), str(status.st_mtime_ns)
        for member in self._zip.infolist() if self._zip else ():
            if member.filename.endswith(suffix):
                yield member.filename, str(member.file_size), f"{member.CRC:08x}"

    @property
    def locations(self) -> str:
        """Folders and archive, joined by "nor" for error messages."""
        return " nor ".join([*(f"{folder}/" for folder in self._folders), self._archive])

    def _extracted_path(self, name: str) -> Path | None:
        paths = (self._root / folder / path for folder in self._folders for path in (name, _basename(name)))
        return next((path for path in paths if path.is_file()), None)


def _basename(name: str) -> str:
    return PurePosixPath(name).name


def questions(root: Path) -> Download:
    """Open the download of the questions, version 1.2."""
    return Download(root, "questions1.2.zip", ("questions1.2", "."))


def images(root: Path) -> Download:
    """Open the download of the images, `{image_id}.jpg`."""
    return Download(root, "images.zip", ("images",))


def download_fingerprint(root: Path) -> str:
    """Return a fingerprint of all questions and images of a download, so that tables of other files are not reused.

    Args:
        root: folder of the download.

    Returns:
        16 hexadecimal digits. Another row, another image, another time of change of an extracted file give other ones.

    Raises:
        ValueError: an archive is not a zip archive.

    Example:
        >>> from pathlib import Path
        >>> from pid import gqa
        >>> len(gqa.download_fingerprint(Path("no/such/folder")))
        16
    """
    facts = [*questions(root).describe(".json"), *images(root).describe(".jpg")]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
