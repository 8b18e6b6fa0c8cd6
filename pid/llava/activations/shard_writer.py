"""A folder of shards, written so that a kill at any moment loses at most the shards in the making.

    config.json          what was captured, and from what; the same for every shard
    shard-….safetensors  some rows; named by them, so that the same rows always lie in the same file
    manifest-0000.jsonl  one line per finished shard of a process: its file, bytes, sha256, rows, and the config's hash

A file is written under another name, forced to disk and renamed; only then does its line follow. Several processes
share a folder, each with a manifest of its own.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from pid.llava.progress import counted

Config = dict[str, Any]


@dataclass(frozen=True)
class Shard:
    """A line of a manifest."""

    file: str
    """Name of the file in the folder."""
    bytes: int
    """Its size."""
    sha256: str
    """Of all its bytes."""
    config: str
    """`fingerprint` of the configuration it was captured under."""
    places: tuple[int, ...]
    """Of each row its place among all samples."""
    names: tuple[str, ...]
    """Of each row its name."""

    def damage(self, folder: Path, *, verify: bool) -> str | None:
        """What is wrong with the file: its size or, with `verify`, any byte; None if nothing is."""
        path = folder / self.file
        found = path.stat().st_size if path.is_file() else 0
        if found != self.bytes:
            return f"{path} has {found} bytes instead of {self.bytes}"
        if verify:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 != self.sha256:
                return f"{path} has the sha256 {sha256[:12]}… instead of {self.sha256[:12]}…"
        return None


def fingerprint(config: Config) -> str:
    """The sha256 of a configuration, whatever the order of its entries."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_config(folder: Path) -> Config:
    """The configuration of a store. Raises FileNotFoundError where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"a store has a config.json, found none in {folder}; capture into it first.")
    return json.loads(path.read_text())


def begin(folder: Path, config: Config, *, part: int = 0) -> None:
    """Make the folder a store of this configuration, or check that it is one. `part` tells processes apart.

    Raises:
        ValueError: names every entry in which the configuration found differs, or a folder of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        if foreign := sorted(path.name for path in folder.iterdir() if not path.name.endswith(".part")):
            raise ValueError(
                f"a store needs a folder of its own, got {folder} with {foreign[0]}; name another one."
            )
        write(folder / "config.json", json.dumps(config, indent=1).encode(), part=part)
    saved, now, nothing = _flat(read_config(folder)), _flat(config), "nothing"
    if differing := [
        f"{name}: stored {saved.get(name, nothing)!r}, now {now.get(name, nothing)!r}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name, nothing) != now.get(name, nothing)
    ]:
        raise ValueError(
            f"a store goes on with the configuration it began with, got {'; '.join(differing)}; use the stored "
            f"values ({folder / 'config.json'}) or another folder."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} from {"a": {"b": value}}."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key in tree for name, value in _flat(tree[key], f"{prefix}{key}.").items()}


def write(path: Path, content: bytes, *, part: int = 0) -> None:
    """Write a file in one piece: after a kill it is the old one or the new one. `part` tells processes apart."""
    unfinished = path.with_name(f"{path.name}.{part}.part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def manifests(folder: Path) -> dict[int, Path]:
    """The manifest of each process, by its number."""
    return {int(path.stem.split("-")[1]): path for path in sorted(folder.glob("manifest-*.jsonl"))}


def lines(manifest: Path) -> Iterator[Shard]:
    """The lines that end, with what they say; a kill leaves at most one that does not."""
    for line in manifest.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = json.loads(line)
            yield Shard(**entry | {key: tuple(entry[key]) for key in ("places", "names")})


class Writer:
    """Adds shards to the store of one configuration, as process `index` of `count`.

    To begin with it clears away what a kill has left (files without an end, lines without one) and the lines of
    damaged shards; rows are stored if an intact shard has them. With another number of processes than before,
    process k sees to the manifests k, k + count, k + 2·count, …

    Raises:
        ValueError: the folder holds another configuration, or something else.
    """

    def __init__(self, folder: Path, config: Config, *, index: int = 0, count: int = 1):
        begin(folder, config, part=index)
        self._folder, self._config, self._index = folder, fingerprint(config), index
        self.stored: dict[str, int] = {}
        """Of each row in an intact shard its place, by name."""
        for part in folder.glob("*.part"):
            if int(part.name.split(".")[-2]) % count == index:
                part.unlink()
        for number, manifest in manifests(folder).items():
            found = counted("check", tuple(lines(manifest)), "shards")
            intact = [shard for shard in found if not shard.damage(folder, verify=True)]
            for shard in intact:
                self.stored |= zip(shard.names, shard.places, strict=True)
            content = b"".join(map(_line, intact))
            if number % count == index and content != manifest.read_bytes():
                write(manifest, content, part=index)

    def save(self, places: Iterable[int], names: Iterable[str], arrays: Mapping[str, np.ndarray]) -> None:
        """Add a shard; it is on disk when this returns."""
        places, names = tuple(places), tuple(names)
        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        name = f"shard-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]}.safetensors"
        write(self._folder / name, content, part=self._index)
        sha256 = hashlib.sha256(content).hexdigest()
        line = _line(Shard(name, len(content), sha256, self._config, places, names))
        with (self._folder / f"manifest-{self._index:04}.jsonl").open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.stored |= zip(names, places, strict=True)


def _line(shard: Shard) -> bytes:
    return json.dumps(dataclasses.asdict(shard)).encode() + b"\n"
