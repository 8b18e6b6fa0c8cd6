"""Random Pathfinder images, bit for bit those of the benchmark's generator [Linsley et al. 2018].

The generator of the benchmark is a program of its own; the published images of the Long Range Arena were drawn with
other, unknown seeds. So accuracies on these images and on the published ones have the same distribution.

n images, W image size
"""

import importlib.util
from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Int32, UInt8

from experiments.data.pathfinder.contour_images import scene_image
from experiments.data.pathfinder.search.contour_scene import Scene
from experiments.data.pathfinder.search.numpy_search import NumpySearch
from experiments.data.pathfinder.search.word_stream import Seed
from experiments.data.pathfinder.window_sizes import WindowSize, window_size

Method = Literal["auto", "numba", "numpy"]


class Search(Protocol):
    """A stream of scenes."""

    def below(self, limit: int) -> int:
        """Return randint(0, limit)."""
        ...

    def scene(self, window: WindowSize, contour: int, margin: int, *, label: int) -> Scene:
        """Draw the contours of an image."""
        ...


def open_search(seed: Seed, method: Method) -> Search:
    """Return the stream of scenes of a seed.

    Args:
        seed: seed of the stream.
        method: the compiled search, the one in NumPy, or the compiled one if numba is installed.

    Raises:
        ValueError: the method is unknown, or numba is not installed.
    """
    if method not in ("auto", "numba", "numpy"):
        raise ValueError(f"method is 'auto', 'numba' or 'numpy', got {method!r}; take one of these.")
    installed = importlib.util.find_spec("numba") is not None
    if method == "numba" and not installed:
        raise ValueError(
            "method='numba' needs the package numba, got none; install the extra 'pathfinder', or take 'numpy'."
        )
    if method == "numpy" or not installed:
        return NumpySearch(seed)
    from experiments.data.pathfinder.search.numba_search import NumbaSearch  # numba is an optional package

    return NumbaSearch(seed)


def scenes(
    seed: Seed, *, size: int = 32, contour: int = 14, method: Method = "auto"
) -> Iterator[tuple[Scene, int]]:
    """Yield (scene, label) without end; all draws are made from one `RandomState(seed)`.

    Args:
        seed: seed of the stream.
        size: height and width of an image.
        contour: segments of a long contour.
        method: see `open_search`.
    """
    window, search = window_size(size, contour), open_search(seed, method)
    while True:
        label = search.below(2)
        margin = window.margins[search.below(len(window.margins))]
        yield search.scene(window, contour, margin, label=label), label


def generate(
    count: int, *, seed: Seed, size: int = 32, contour: int = 14, method: Method = "auto"
) -> tuple[UInt8[np.ndarray, "n W W"], Int32[np.ndarray, " n"]]:
    """Return random images and their labels.

    An image has two long contours of `contour` segments, short contours between them, and two markers. The label is
    1 if both markers lie on the same long contour. The first images do not depend on `count`.

    Args:
        count: number of images.
        seed: seed of the stream, one or several numbers from 0 to 2³² - 1.
        size: height and width of an image: 32, 64, 128 (Path-X) or 256.
        contour: segments of a long contour; the benchmark has 6 (easy), 9 and 14 (hard, its own choice).
        method: "numba" is the compiled search, "numpy" gives the same images more slowly, "auto" takes numba if it
            is installed.

    Returns:
        Images (count, size, size) of gray values, and labels (count,).

    Raises:
        ValueError: an argument is out of range, numba is asked for and missing, or contours of this length have no
            room in the image.

    Example:
        >>> from experiments.data import pathfinder
        >>> images, labels = pathfinder.generate(2, seed=0, contour=6, method="numpy")
        >>> images.shape, labels.tolist()
        ((2, 32, 32), [0, 1])

    Reference:
        Linsley et al. 2018, "Learning long-range spatial dependencies with horizontal gated recurrent units";
        Tay et al. 2021, "Long Range Arena".
    """
    if count < 0:
        raise ValueError(f"a number of images is 0 or more, got count={count}; raise it.")
    window, stream = window_size(size, contour), scenes(seed, size=size, contour=contour, method=method)
    images, labels = np.zeros((count, size, size), np.uint8), np.zeros(count, np.int32)
    for i in range(count):
        scene, labels[i] = next(stream)
        images[i] = scene_image(scene, window)
    return images, labels
