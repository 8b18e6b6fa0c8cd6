"""Pathfinder and Path-X: is there a contour from one marker to the other?

Files in import order:

window_sizes        parameters of the benchmark for each image size
segment_stamps      small pictures of a segment and of a marker
search              the search for contours, in NumPy or compiled by numba
contour_images      images of scenes
contour_generator   random images
generation_process  what a process that generates images runs
image_shards        random images on disk, made by several processes
pathfinder_release  the published images
pathfinder_builder  a TFDS data set
pathfinder_config   the configuration, and its splits as arrays
"""

from typing import TYPE_CHECKING, Any

from experiments.data.pathfinder.contour_generator import generate, scenes

if TYPE_CHECKING:
    from experiments.data.pathfinder.pathfinder_config import PathfinderConfig

__all__ = ["PathfinderConfig", "generate", "scenes"]


def __getattr__(name: str) -> Any:
    """Import `PathfinderConfig` on first use: processes that generate images need no TFDS and no JAX."""
    if name != "PathfinderConfig":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.data.pathfinder.pathfinder_config import PathfinderConfig

    return PathfinderConfig
