"""Pathfinder images: is there a contour from one marker to the other?"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, UInt8

from experiments.data.pathfinder.contour_scene import Scene
from experiments.data.pathfinder.numpy_search import NumpySearch
from experiments.data.pathfinder.search_tables import SearchTables, search_tables
from experiments.data.pathfinder.segment_stamps import marker_stamp, to_bytes
from experiments.data.pathfinder.window_sizes import WindowSize, window_size

marker = functools.lru_cache(maxsize=1024)(marker_stamp)


def picture(scene: Scene, window: WindowSize, tables: SearchTables) -> UInt8[np.ndarray, "W W"]:
    levels = np.arange(256) / 255
    target = (window.contrast * window.segment_contrast * levels).astype(np.float32)
    distractor = (window.contrast * levels).astype(np.float32)
    crop = slice(tables.frame, tables.frame + window.size)
    planes = [plane.reshape(tables.side, -1)[crop, crop] for plane in (scene.targets, scene.distractors)]
    image = np.maximum(target[planes[0]], distractor[planes[1]])
    for point in (scene.origin, scene.tip):
        image = np.maximum(image, marker(point, window.marker_radius, window.size) / 255)
    return to_bytes(image)


def scenes(count, seed, size, contour, search=NumpySearch):
    window = window_size(size, contour)
    search = search(seed)
    for _ in range(count):
        label = search.below(2)
        margin = window.margins[search.below(len(window.margins))]
        tables = search_tables(size, margin)
        scene = search.scene(window, contour, margin, label=label)
        yield picture(scene, window, tables), label, scene.starts
