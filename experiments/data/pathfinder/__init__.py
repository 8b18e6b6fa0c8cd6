"""Pathfinder and Path-X: is there a contour from one marker to the other?

Files in import order:

window_sizes        parameters of the benchmark for each image size
segment_stamps      small pictures of a segment and of a marker
search              the search for contours, in NumPy or compiled by numba
contour_images      images of scenes
contour_generator   random images
image_shards        random images on disk, made by several processes
pathfinder_release  the published images
pathfinder_builder  a TFDS data set
pathfinder_config   the configuration, and its splits as arrays
"""

from experiments.data.pathfinder.contour_generator import generate, scenes
from experiments.data.pathfinder.pathfinder_builder import Pathfinder
from experiments.data.pathfinder.pathfinder_config import PathfinderConfig

__all__ = ["Pathfinder", "PathfinderConfig", "generate", "scenes"]
