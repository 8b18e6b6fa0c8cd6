"""Different ListOps sequences in shards on disk, so that a generation continues after a kill."""

import itertools
import json
import random
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data.listops.generator import check_lengths, stream
from experiments.data.listops.grammar import encode
from experiments.data.preparation.counter import counted
from experiments.run.folder.atomic_files import write_atomically

ROWS_PER_SHARD = 2048


class Row(NamedTuple):
    """A sequence as bytes, which need a tenth of the memory of its tokens."""

    ids: bytes
    """Token ids, one byte each."""
    label: int
    """Value of the sequence, 0 to 9."""


def distinct(
    count: int,
    *,
    seed: int,
    min_length: int = 500,
    max_length: int = 2000,
    shards: Path | None = None,
) -> list[Row]:
    """Return `count` pairwise different sequences of the stream, in a random order drawn from the seed.

    A repeated sequence is skipped, so splits of the list share no sequence. Likely sequences come early in the
    stream; without the random order the last split would contain the unlikely sequences.

    Args:
        count: number of sequences.
        seed: seed of the stream and of the order.
        min_length: sequences have more tokens than this.
        max_length: sequences have fewer tokens than this.
        shards: folder for the sequences so far. A later call continues there with the same result, so the folder
            belongs to one seed and one pair of lengths.

    Raises:
        ValueError: there are too few different sequences within the bounds.
    """
    check_lengths(min_length, max_length)
    rng, limit = random.Random(seed), 20 * count + 1000
    rows, draws = _restore(shards, rng)
    trees = stream(rng, min_length=min_length, max_length=max_length)
    earlier_ids = {row.ids for row in rows}
    progress = counted(itertools.count(), "generating ListOps", count, start=len(rows))
    while len(rows) < count and draws < limit:
        tokens, label = next(trees)
        draws += 1
        ids = encode(tokens).tobytes()
        if ids in earlier_ids:
            continue
        earlier_ids.add(ids)
        rows.append(Row(ids, label))
        next(progress)
        if shards is not None and len(rows) % ROWS_PER_SHARD == 0:
            _save(shards, rows[-ROWS_PER_SHARD:], len(rows) // ROWS_PER_SHARD - 1, rng, draws)
    progress.close()
    if len(rows) < count:
        raise ValueError(
            f"splits must not share a sequence, so {count} different ones of {min_length + 1} to "
            f"{max_length - 1} tokens are needed, got {len(rows)} among {limit}; lower the split sizes or "
            "widen the lengths."
        )
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return [rows[i] for i in order]


def _save(folder: Path, rows: list[Row], shard: int, rng: random.Random, draws: int) -> None:
    """Save rows, and the state of the generator after them."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.frombuffer(b"".join(row.ids for row in rows), np.uint8)
    lengths = np.array([len(row.ids) for row in rows], np.int32)
    labels = np.array([row.label for row in rows], np.int32)
    archive = BytesIO()
    np.savez(archive, ids=ids, lengths=lengths, labels=labels, state=json.dumps([rng.getstate(), draws]))
    write_atomically(_path(folder, shard), archive.getvalue())


def _restore(folder: Path | None, rng: random.Random) -> tuple[list[Row], int]:
    """Return the rows of all shards and the number of their draws, and set the state of the generator after them."""
    rows: list[Row] = []
    draws = 0
    for shard in itertools.count():
        if folder is None or not _path(folder, shard).is_file():
            break
        try:
            with np.load(BytesIO(_path(folder, shard).read_bytes())) as archive:
                arrays = {name: archive[name] for name in ("ids", "lengths", "labels", "state")}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            break  # A damaged shard, and all after it, are generated again.
        parts = np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1])
        rows += [Row(part.tobytes(), int(y)) for part, y in zip(parts, arrays["labels"], strict=True)]
        (version, words, gauss), draws = json.loads(arrays["state"].item())
        rng.setstate((version, tuple(words), gauss))
    return rows, draws


def _path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05}.npz"
