"""Let a TFDS builder write its files once, without remains of killed processes and without the messages of TFDS."""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from filelock import FileLock


def prepare_files(builder: tfds.core.DatasetBuilder, manual_dir: str | Path | None) -> None:
    """Write the files of the builder. If several processes start, one writes and the others wait.

    Args:
        builder: the builder, whose folder is `data_dir` / name / configuration / version.
        manual_dir: folder of files that TFDS cannot download.
    """
    folder = Path(builder.data_dir)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        for remains in folder.parent.glob("incomplete.*"):
            shutil.rmtree(remains, ignore_errors=True)  # this process holds the lock, so nobody writes there
        download = tfds.download.DownloadConfig(manual_dir=os.fspath(manual_dir)) if manual_dir else None
        with without_messages():
            builder.download_and_prepare(download_config=download)


@contextlib.contextmanager
def without_messages() -> Iterator[None]:
    """Hide what TFDS logs: the fields of a configuration, sizes of a download that a generator does not know, bars."""
    logger = logging.getLogger("absl")
    level = logger.level
    tfds.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logger.setLevel(level)
