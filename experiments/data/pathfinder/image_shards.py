"""Generated images in shards on disk: several processes make them, and after a kill the next call goes on.

n images of a shard, W image size
"""

import concurrent.futures
import io
import itertools
import multiprocessing
import os
import signal
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from experiments.data.pathfinder.contour_generator import generate
from experiments.data.preparation.counter import counted
from experiments.run.folder.atomic_files import write_atomically

IMAGES_PER_SHARD = 500


class Shard(NamedTuple):
    """Some images of a split. They are the first of a stream of their own, whoever generates them and when."""

    path: Path
    """The file."""
    seed: tuple[int, int, int]
    """Seed of the data set, number of the split, number of the shard: the seed of its `RandomState`."""
    images: int
    """Number of images."""
    size: int
    """Height and width of an image."""
    contour: int
    """Segments of a long contour."""


def split_shards(
    folder: Path, sizes: dict[str, int], *, seed: int, size: int, contour: int
) -> dict[str, list[Shard]]:
    """Return the shards of every split; all but the last of a split have 500 images.

    Args:
        folder: folder of the files.
        sizes: number of images of each split.
        seed: seed of the data set.
        size: height and width of an image.
        contour: segments of a long contour.
    """
    return {
        split: [
            Shard(
                folder / f"{split}-{number:05}.npz",
                (seed, place, number),
                min(IMAGES_PER_SHARD, count - start),
                size,
                contour,
            )
            for number, start in enumerate(range(0, count, IMAGES_PER_SHARD))
        ]
        for place, (split, count) in enumerate(sizes.items())
    }


def generate_shards(shards: Sequence[Shard], *, workers: int, title: str) -> None:
    """Write the shards that are not on disk, and show the number of images.

    Args:
        shards: all shards.
        workers: number of processes.
        title: what happens, for the progress.

    Raises:
        RuntimeError: a process was killed. The finished shards stay, and the next call goes on.
    """
    missing = [shard for shard in shards if not shard.path.is_file()]
    total, rest = (sum(shard.images for shard in part) for part in (shards, missing))
    finished = itertools.chain.from_iterable(range(count) for count in _written(missing, workers))
    for _ in counted(finished, title, total, start=total - rest):
        pass


def _written(missing: Sequence[Shard], workers: int) -> Iterator[int]:
    """Write the shards, and yield the number of images of each."""
    if workers < 2 or len(missing) < 2:
        yield from map(write_shard, missing)
        return
    generate(
        1, seed=0, size=missing[0].size, contour=3
    )  # compiles before the processes start, so it is done once
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(missing)), mp_context=context, initializer=_end_with_parent
    ) as pool:
        futures = [pool.submit(write_shard, shard) for shard in missing]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "generating Pathfinder needs its processes, but one was killed, perhaps for want of memory; start "
                "again, it goes on from here, or lower workers."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process leave the interrupt to its parent, and end when the parent ends, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def write_shard(shard: Shard) -> int:
    """Generate the images of a shard and write its file; return their number."""
    images, labels = generate(shard.images, seed=shard.seed, size=shard.size, contour=shard.contour)
    archive = io.BytesIO()
    np.savez(archive, images=images, labels=labels)
    shard.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(shard.path, archive.getvalue())
    return shard.images


def read_shard(shard: Shard) -> tuple[UInt8[np.ndarray, "n W W"], Int32[np.ndarray, " n"]]:
    """Return images and labels of a shard; a missing or damaged file is written again."""
    arrays = _read(shard)
    if arrays is None:
        write_shard(shard)
        arrays = _read(shard)
    if arrays is None:
        raise OSError(
            f"a file that was just written must be readable, got damage in {shard.path}; check the disk."
        )
    return arrays


def _read(shard: Shard) -> tuple[UInt8[np.ndarray, "n W W"], Int32[np.ndarray, " n"]] | None:
    """Return the content of a file, or None if it is not whole."""
    try:
        with np.load(io.BytesIO(shard.path.read_bytes())) as archive:
            images, labels = archive["images"], archive["labels"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    whole = images.shape == (shard.images, shard.size, shard.size) and labels.shape == (shard.images,)
    return (images, labels) if whole else None
