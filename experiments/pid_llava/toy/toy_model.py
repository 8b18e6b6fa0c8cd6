"""The toy model: LLaVA-1.5 in miniature for `pid.toyworld`, one token per patch and per word.

It has a CLIP tower of one block on images of 4×4 patches, the projector, and a Llama of six layers. It is deep enough
to show how information moves from layer to layer, and small enough to train on two cores.
"""

import math
from typing import Any

import jax
from flax import nnx

from pid import llava, toyworld
from pid.toyworld.scenes import PATCH
from pid.toyworld.vocabulary import IMAGE, SIDE

LAYERS = 6
CONFIG = llava.LlavaConfig(
    llava.VisionConfig(
        hidden_size=64,
        mlp_dim=128,
        num_heads=4,
        depth=1,
        image_size=SIDE * PATCH,
        patch_size=PATCH,
        channels=3,
        activation="quick_gelu",
        norm_eps=1e-5,
    ),
    llava.TextConfig(
        vocab_size=len(toyworld.VOCABULARY),
        hidden_size=64,
        mlp_dim=128,
        num_layers=LAYERS,
        num_heads=4,
        num_kv_heads=4,
        head_dim=16,
        norm_eps=1e-5,
        rope_theta=100.0,  # prompts have 27 tokens
        sliding_window=None,
        tie_embeddings=False,
    ),
    image_token=toyworld.VOCABULARY[IMAGE],
    pinpoints=None,
)
"""309 248 parameters."""

SUBLAYER_ENDS = ("language/blocks/out", "language/blocks/down")
LLAVA_SD = 0.02  # standard deviation of the initial weights of `llava.Llava`


def initial_sd(name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation of the initial values of a parameter.

    0.02 is far too small at this width: a map of n inputs preserves variance with n^(-1/2). The maps that end a
    sublayer are divided by √(2L), so that L layers add up to the variance of one [Radford et al. 2019].
    """
    if name.endswith("patches"):
        return math.prod(shape[1:]) ** -0.5
    if name.endswith(("embedding", "positions")):
        return 0.5
    if not name.endswith("kernel"):
        return LLAVA_SD
    return shape[-2] ** -0.5 * ((2 * LAYERS) ** -0.5 if name.startswith(SUBLAYER_ENDS) else 1)


def build(rngs: nnx.Rngs) -> llava.Llava:
    """Return the model with initial weights."""
    graphdef, params = nnx.split(llava.Llava(CONFIG, rngs=rngs))

    def scale(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return (
            leaf
            if leaf.ndim < 1 or name.endswith(("scale", "bias"))
            else leaf * (initial_sd(name, leaf.shape) / LLAVA_SD)
        )

    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(scale, nnx.to_pure_dict(params)))
