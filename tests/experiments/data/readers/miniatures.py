"""Write small archives, packages and TFDS folders in the layout of the real ones."""

import dataclasses
import gzip
import io
import struct
import tarfile
import zipfile
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from experiments.data.preparation.file_hashes import sha256
from experiments.data.preparation.tfds_files import without_messages


def write_tar(path, files, *, mode: Any = "w:gz"):
    """Write a tar archive of {name: content} in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path, files):
    """Write a zip archive of {name: content} in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_deb(path, files):
    """Write a Debian package: an `ar` archive of debian-binary, control.tar.xz and data.tar.xz."""
    data = write_tar(
        path.with_suffix(".tar.xz"), {f"./{name}": content for name, content in files.items()}, mode="w:xz"
    )
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.read_bytes()}
    data.unlink()
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content)
            file.write(b"\n" * (len(content) % 2))
    return path


def idx(values, magic):
    """An array in idx format, compressed."""
    sizes = struct.pack(f">{values.ndim + 1}i", magic, *values.shape)
    return gzip.compress(sizes + values.astype(np.uint8).tobytes())


def register(monkeypatch, table, name, folder, write, files, **sizes):
    """Write the package file of a stand-in into a folder, and let its table expect this file and these sizes."""
    package = table[name].package
    folder.mkdir(parents=True, exist_ok=True)
    path = write(folder / package.file, files)
    package = dataclasses.replace(package, sha256=sha256(path))
    monkeypatch.setitem(table, name, table[name]._replace(package=package, sizes=sizes or table[name].sizes))
    return path


def png(image):
    """An image as the file that TFDS stores."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


def write_tfds(folder, name, rows):
    """Let TFDS write its data set `name` with these rows of every split, instead of the published ones."""
    with without_messages(), published_rows(name, rows):
        tfds.builder(name, data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


@contextmanager
def published_rows(name, rows):
    """Let the builder of a TFDS data set read these rows instead of a download."""
    builder: Any = type(tfds.builder(name))

    def split_generators(self, dl_manager):
        return {split: iter(enumerate(examples)) for split, examples in rows.items()}

    builder.code_path = None  # hides a property, which needs a package that is not installed
    try:
        with mock.patch.object(builder, "_split_generators", split_generators):
            yield
    finally:
        del builder.code_path


def texts(split):
    """Rows of a split as bytes."""
    return [bytes(row[:length]) for row, length in zip(np.asarray(split.tokens), split.lengths, strict=True)]
