"""Write a folder of shards. A kill at any moment loses at most the shards that are being written.

    config.json          what was captured, and from what; the same for every shard
    shard-….safetensors  some samples; a hash of their names is its name, so the same samples always share a file
    manifest-0000.jsonl  one line per finished shard of a process: file, bytes, sha256, samples, hash of config.json

A file is written under a temporary name, flushed to disk and renamed. Only then is its line appended. Several
processes share a folder, each with its own manifest.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from pid.llava.model_folder.output_folder import create_folder, output_folder
from pid.llava.progress import track

StoreConfig = dict[str, Any]
MANIFEST = re.compile(r"manifest-\d+\.jsonl")
LEFTOVER = re.compile(r"\.\d+\.part$")
"""End of the name of a temporary file: the number of its process."""


@dataclass(frozen=True)
class Shard:
    """A line of a manifest."""

    file: str
    """Name of the file in the folder."""
    bytes: int
    """Size of the file."""
    sha256: str
    """SHA-256 of the file."""
    config: str
    """`config_hash` of the configuration under which it was captured."""
    places: tuple[int, ...]
    """For each row its index among all samples."""
    names: tuple[str, ...]
    """For each row its name."""
    digests: tuple[str, ...] = ()
    """For each row a hash of its prompt. Empty in stores that were written without them."""

    def damage(self, folder: Path, *, verify: bool) -> str | None:
        """What is wrong with the file: its size or, with `verify`, any byte. None if it is intact."""
        path = folder / self.file
        size = path.stat().st_size if path.is_file() else 0
        if size != self.bytes:
            return f"{path} has {size} bytes instead of {self.bytes}"
        if verify:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 != self.sha256:
                return f"{path} has the sha256 {sha256[:12]}… instead of {self.sha256[:12]}…"
        return None


def config_hash(config: StoreConfig) -> str:
    """The SHA-256 of a configuration, independent of the order of its entries."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_store_config(folder: Path) -> StoreConfig:
    """The configuration of a store.

    Raises:
        FileNotFoundError: the folder is not a store.
        ValueError: its config.json is damaged, or is that of something else.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"a store has a config.json, found none in {folder}; capture into it first.")
    try:
        config = json.loads(path.read_bytes())
        missing = [name for name in ("model", "conditions", "states", "groups") if name not in config]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the config.json of a store is JSON, got {path}: {error}; restore it.") from error
    if missing:
        raise ValueError(
            f"the config.json of a store names what was captured, got none of {', '.join(missing)} in {path}; this is "
            f"the folder of something else: pass that of a store."
        )
    return config


def create_or_check(folder: Path, config: StoreConfig, *, process: int = 0) -> None:
    """Create the store in the folder, or check that the folder is a store of this configuration.

    `process` is the number of the calling process, so that several do not write one temporary file.

    Raises:
        FileExistsError: the folder is a file.
        ValueError: the stored configuration differs (the message names every entry), or the folder has other files.
    """
    create_folder("a store", output_folder("a store", folder))
    if not (folder / "config.json").exists():
        if foreign := sorted(path.name for path in folder.iterdir() if not path.name.endswith(".part")):
            raise ValueError(
                f"a store needs a folder of its own, got {folder} with {foreign[0]}; name another one."
            )
        write_atomically(folder / "config.json", json.dumps(config, indent=1).encode(), process=process)
    stored, now, nothing = _flat(read_store_config(folder)), _flat(config), "nothing"
    if differences := [
        f"{name}: stored {stored.get(name, nothing)!r}, now {now.get(name, nothing)!r}"
        for name in sorted(stored.keys() | now.keys())
        if stored.get(name, nothing) != now.get(name, nothing)
    ]:
        raise ValueError(
            f"a store keeps the configuration it was created with, got {'; '.join(differences)}; use the stored "
            f"values ({folder / 'config.json'}) or another folder."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Convert {"a": {"b": value}} to {"a.b": value}."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key in tree for name, value in _flat(tree[key], f"{prefix}{key}.").items()}


def write_atomically(path: Path, content: bytes, *, process: int = 0) -> None:
    """Write a file. After a kill at any moment it has either the old content or the new one."""
    temporary = path.with_name(f"{path.name}.{process}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def manifests(folder: Path) -> dict[int, Path]:
    """The manifest of each process, by the number of the process. Copies under other names are none."""
    paths = (path for path in sorted(folder.glob("manifest-*.jsonl")) if MANIFEST.fullmatch(path.name))
    return {int(path.stem.split("-")[1]): path for path in paths}


def read_manifest(manifest: Path) -> Iterator[Shard]:
    """The shards of a manifest. A line without a line end, which a kill may leave, is skipped.

    Raises:
        ValueError: a line is damaged, or of another release.
    """
    for number, line in enumerate(manifest.read_bytes().split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            lists = {key: tuple(entry[key]) for key in ("places", "names", "digests") if key in entry}
            shard = Shard(**entry | lists)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(
                f"every line of {manifest} must describe a shard, got line {number} with {line[:40]!r}; delete the "
                f"line and capture again into the same folder, or use the release that wrote it."
            ) from None
        yield shard


class ShardWriter:
    """Adds shards to the store of one configuration, as process `index` of `count`.

    The constructor removes the temporary files and incomplete lines that a kill has left, and the lines of damaged
    shards. A row counts as stored if an intact shard has it. If the number of processes has changed, process k
    maintains the manifests k, k + count, k + 2·count, …

    Raises:
        ValueError: the store has another configuration, or the folder has other files.
    """

    def __init__(self, folder: Path, config: StoreConfig, *, index: int = 0, count: int = 1):
        """Open or create the store, and check its shards."""
        create_or_check(folder, config, process=index)
        self._folder, self._config, self._index = folder, config_hash(config), index
        self.stored: dict[str, int] = {}
        """For each row in an intact shard its index among all samples, by name."""
        self.digests: dict[str, str] = {}
        """For each of these rows the hash of its prompt, if the store has it, by name."""
        for leftover in filter(lambda path: LEFTOVER.search(path.name), folder.glob("*.part")):
            if int(leftover.name.split(".")[-2]) % count == index:
                leftover.unlink()
        for number, manifest in manifests(folder).items():
            shards = track("check", tuple(read_manifest(manifest)), "shards")
            intact = [shard for shard in shards if not shard.damage(folder, verify=True)]
            for shard in intact:
                self.stored |= zip(shard.names, shard.places, strict=True)
                self.digests |= zip(shard.names, shard.digests, strict=False)
            content = b"".join(map(_line, intact))
            if number % count == index and content != manifest.read_bytes():
                write_atomically(manifest, content, process=index)

    def save(
        self,
        places: Iterable[int],
        names: Iterable[str],
        arrays: Mapping[str, np.ndarray],
        digests: Iterable[str] = (),
    ) -> None:
        """Add a shard. It is on disk when this returns."""
        places, names, digests = tuple(places), tuple(names), tuple(digests)
        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        name = f"shard-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]}.safetensors"
        write_atomically(self._folder / name, content, process=self._index)
        sha256 = hashlib.sha256(content).hexdigest()
        line = _line(Shard(name, len(content), sha256, self._config, places, names, digests))
        with (self._folder / f"manifest-{self._index:04}.jsonl").open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.stored |= zip(names, places, strict=True)


def _line(shard: Shard) -> bytes:
    entry = {key: value for key, value in dataclasses.asdict(shard).items() if key != "digests" or value}
    return json.dumps(entry).encode() + b"\n"
