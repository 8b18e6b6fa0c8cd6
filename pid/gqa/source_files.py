"""Access to the files of a GQA download, in folders or in the archives they came in."""

import io
import zipfile
from pathlib import Path, PurePosixPath
from typing import cast


class Download:
    """Files by name: first in the folders, then in the archive, all below one place.

    An archive is indexed once and its files are read out of it, so nothing needs to be extracted.

    Raises:
        ValueError: the archive is not a zip archive.
    """

    def __init__(self, place: Path, archive: str, folders: tuple[str, ...]) -> None:
        """Index the archive, if there is one."""
        self._place, self._name, self._folders = place, archive, folders
        path = place / archive
        try:
            self._zip = zipfile.ZipFile(path) if path.is_file() else None
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{archive} must be a whole zip archive, got: {error}; download it again, or extract what is whole to "
                f"{folders[0]}/."
            ) from None
        members = self._zip.namelist() if self._zip else ()
        self._members = {PurePosixPath(member).name: member for member in members}

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._extracted(name) is not None or _last(name) in self._members

    def open(self, name: str) -> io.BufferedIOBase:
        """Open the file of that name, a path below the folder.

        Raises:
            FileNotFoundError: no such file; says where it was searched.
        """
        if path := self._extracted(name):
            return path.open("rb")
        if self._zip and _last(name) in self._members:
            return cast(io.BufferedIOBase, self._zip.open(self._members[_last(name)]))
        raise FileNotFoundError(
            f"GQA needs the file {name}, found in neither {self.where} below {self._place}; download {self._name} from "
            "the site of GQA into that folder."
        )

    @property
    def where(self) -> str:
        """The folders and the archive, in words."""
        return " nor ".join([*(f"{folder}/" for folder in self._folders), self._name])

    def _extracted(self, name: str) -> Path | None:
        paths = (self._place / folder / part for folder in self._folders for part in (name, _last(name)))
        return next((path for path in paths if path.is_file()), None)


def _last(name: str) -> str:
    return PurePosixPath(name).name


def questions(place: Path) -> Download:
    """Open the download of the questions, version 1.2."""
    return Download(place, "questions1.2.zip", ("questions1.2", "."))


def images(place: Path) -> Download:
    """Open the download of the images, `{image_id}.jpg`."""
    return Download(place, "images.zip", ("images",))
