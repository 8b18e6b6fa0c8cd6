"""The arguments of `forward` as arrays: lists, tensors of torch and arrays of any floating dtype are converted.

torch is not imported. A tensor is recognized by its methods.

B batch, M tiles of a sample
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def to_host_array(name: str, value: Any) -> np.ndarray:
    """Convert an argument of that name to a NumPy array.

    Raises:
        ValueError: it is a mapping, or not one array of numbers.
    """
    if isinstance(value, Mapping):
        raise ValueError(
            f"{name} is one array, got {type(value).__name__} with {', '.join(map(str, value))}; pass its entries by "
            f"name, as forward(model, **inputs)."
        )
    try:
        array = np.asarray(_from_torch(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} is one array, got {type(value).__name__}: {error}; pad its parts to one shape and stack them."
        ) from error
    if array.dtype.kind in "OUS":
        raise ValueError(f"{name} is an array of numbers, got {type(value).__name__}; pass an array.")
    return array


def _from_torch(value: Any) -> Any:
    """A tensor of torch without its gradient, on the host, in a dtype that NumPy has; anything else unchanged."""
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    tensor = value.detach().cpu()
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def to_pixels(value: Any) -> np.ndarray | Array:
    """Convert `pixel_values` to an array of floating-point numbers; an array of JAX stays on its device.

    Raises:
        ValueError: it is no array, or its numbers are not floating.
    """
    pixels = value if isinstance(value, jax.Array) else to_host_array("pixel_values", value)
    if not jnp.issubdtype(pixels.dtype, jnp.floating):
        raise ValueError(
            f"pixel_values are floating, with the colors standardized, got {pixels.dtype}; use the image processor "
            f"of this model."
        )
    return pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels


def check_finite(pixels: np.ndarray | Array) -> None:
    """Raise ValueError, with the rows, if any of the concrete pixels (B, …) is not a finite number."""
    if isinstance(pixels, Tracer) or (isinstance(pixels, jax.Array) and not pixels.is_fully_addressable):
        return
    xp = np if isinstance(pixels, np.ndarray) else jnp
    if xp.isfinite(pixels.sum(dtype=np.float32)):  # far cheaper than to test every pixel
        return
    is_finite = xp.isfinite(pixels).reshape(len(pixels), -1).all(axis=1)
    if rows := np.flatnonzero(~np.asarray(is_finite)).tolist():
        raise ValueError(
            f"pixel_values are finite, got NaN or infinity in the rows {rows}; check the images and their processor."
        )
