"""Files in an archive, one after the other, without extracting it: tar in any compression, zip, Debian package."""

import contextlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

_DEBIAN = b"!<arch>\n"
_HEADER = 60


def members(path: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files whose name begins with `prefix`, in the order of the archive.

    Args:
        path: a .tar.gz, .tgz, .whl, .zip or .deb file.
        prefix: start of the names; "" yields all files.

    Raises:
        ValueError: the archive is damaged or incomplete, or of another kind.
    """
    try:
        yield from _open(path, prefix)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise ValueError(
            f"an archive must be complete to be read, got {path} of {path.stat().st_size:,} bytes ({error}); "
            "download it again."
        ) from None


def _open(path: Path, prefix: str) -> Generator[tuple[str, bytes], None, None]:
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.startswith(prefix) and not name.endswith("/"):
                        yield name, archive.read(name)
            return
        file.seek(0)
        source = _debian_files(file) if start == _DEBIAN else file
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and name.startswith(prefix):
                    with contextlib.closing(archive.extractfile(member) or io.BytesIO()) as content:
                        yield name, content.read()


def _debian_files(file: io.BufferedReader) -> io.BytesIO:
    """Return the member data.tar of an `ar` archive: headers of 60 bytes, contents at even places."""
    place = len(_DEBIAN)
    while True:
        file.seek(place)
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            raise EOFError("it has no data.tar")
        size = int(header[48:58])
        if header.startswith(b"data.tar"):
            content = file.read(size)
            if len(content) < size:
                raise EOFError("its data.tar is cut")
            return io.BytesIO(content)
        place += _HEADER + size + size % 2
