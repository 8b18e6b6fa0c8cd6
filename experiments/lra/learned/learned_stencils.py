"""Stencils of the diffusion layers after training, saved in the run folder for the figure.

Legend: D channels, L layers, K taps.
"""

import io
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from experiments import run
from pdeformer.layers import HeatLayer, Layer
from pdeformer.model import Classifier

Taps = dict[str, Float[np.ndarray, "L D K"]]
"""Map from place to the weights of tokens j-K//2 to j+K//2; L or D is 1 if all layers or channels share them."""


def of_model(model: Classifier) -> Taps:
    """Return the stencils of a model; empty for a baseline."""
    layers: dict[str, Layer] = dict(model.blocks.stencils)
    if model.after_embedding is not None:
        layers = {"after_embedding": model.after_embedding} | layers
    return {place: of_layer(layer) for place, layer in layers.items()}


def of_layer(layer: Layer) -> Float[np.ndarray, "L D K"]:
    """Return the stencils of one diffusion layer, which may be stacked over the blocks."""
    taps = np.asarray(jax.device_get(_taps(layer)))
    if isinstance(layer, HeatLayer):  # one diffusivity for all channels
        taps = taps[..., None, :]
    return taps.reshape(-1, *taps.shape[-2:])


@nnx.jit
def _taps(layer: Layer) -> Array:
    return layer.taps()


def save(folder: run.Run, variant: str, seed: int, taps: Taps) -> None:
    """Write the stencils of a variant and seed, and replace those of an earlier call."""
    if taps and run.is_first():
        path = _path(folder, variant, seed)
        path.parent.mkdir(exist_ok=True)
        archive = io.BytesIO()
        np.savez(archive, allow_pickle=False, **taps)
        run.write_atomically(path, archive.getvalue())


def load(folder: run.Run, variant: str, seed: int) -> Taps:
    """Read the stencils that `save` has written; empty for a baseline.

    Raises:
        ValueError: the file is damaged.
    """
    path = _path(folder, variant, seed)
    if not path.exists():
        return {}
    return run.read_arrays(path, run.remedy_of_row(folder, variant, seed))


def _path(folder: run.Run, variant: str, seed: int) -> Path:
    return folder.folder / "stencils" / f"{variant}-{seed}.npz"
