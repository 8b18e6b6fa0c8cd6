"""Images of scenes: lines at their contrasts, and two markers.

W image size
"""

import numpy as np
from jaxtyping import Float32, UInt8

from experiments.data.pathfinder.search.contour_scene import Scene
from experiments.data.pathfinder.segment_stamps import marker_stamp, to_bytes
from experiments.data.pathfinder.window_sizes import WindowSize

LEVELS = np.arange(256) / 255


def scene_image(scene: Scene, window: WindowSize) -> UInt8[np.ndarray, "W W"]:
    """Return the image of a scene. Distractors may be brighter than the long contours (they are at size 32).

    Args:
        scene: the contours and the places of the markers.
        window: parameters of the image size.
    """
    target = (window.contrast * window.segment_contrast * LEVELS).astype(np.float32)
    distractor = (window.contrast * LEVELS).astype(np.float32)
    image = np.maximum(
        _brightness(scene.targets, target, window.size),
        _brightness(scene.distractors, distractor, window.size),
    )
    for point in (scene.origin, scene.tip):
        image = np.maximum(image, LEVELS[marker_stamp(point, window.marker_radius, window.size)])
    return to_bytes(image)


def _brightness(
    plane: UInt8[np.ndarray, " F*F"], levels: Float32[np.ndarray, " 256"], size: int
) -> Float32[np.ndarray, "W W"]:
    """Return the brightness of a plane without its frame."""
    side = round(len(plane) ** 0.5)
    frame = (side - size) // 2
    return levels[plane.reshape(side, side)[frame : frame + size, frame : frame + size]]
