"""What a process that generates images runs. It imports neither JAX nor TFDS, so it starts in half a second.

n images of a shard, W image size
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from experiments.data.pathfinder.contour_generator import generate


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


class ShardImages(NamedTuple):
    """The content of a shard."""

    images: UInt8[np.ndarray, "n W W"]
    """Gray values."""
    labels: Int32[np.ndarray, " n"]
    """1 if both markers lie on the same long contour."""


def generate_shard(shard: Shard) -> ShardImages:
    """Generate the images of a shard."""
    return ShardImages(*generate(shard.images, seed=shard.seed, size=shard.size, contour=shard.contour))


def follow_parent() -> None:
    """Let this process leave the interrupt to its parent, and end when the parent ends, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
