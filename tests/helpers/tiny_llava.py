"""The smallest LLaVA-1.6 in which everything can go wrong, its prompts, and a capture that a test can kill.

python -m tests.helpers.tiny_llava FOLDER PAUSE          # seconds behind the last row, when one shard is written
"""

import sys
import time
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pid import llava
from pid.llava import Knockout, TokenType
from pid.llava.checkpoint.loading import abstract_model
from pid.llava.partitioning import shardings

IMAGE, QUESTION, TEXT, LAST, BOX = TokenType.IMAGE, TokenType.QUESTION, TokenType.TEXT, TokenType.LAST, 5
IMAGE_ID = 23
CONFIG = llava.LlavaConfig(
    llava.VisionConfig(
        hidden_size=8,
        mlp_dim=8,
        num_heads=2,
        depth=1,
        image_size=4,
        patch_size=2,
        channels=3,
        activation="quick_gelu",
        norm_eps=1e-5,
    ),
    llava.TextConfig(
        vocab_size=24,
        hidden_size=16,
        mlp_dim=24,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        norm_eps=1e-5,
        rope_theta=1e4,
        sliding_window=None,
        tie_embeddings=False,
    ),
    image_token=IMAGE_ID,
    pinpoints=((4, 8), (8, 4), (8, 8)),
)
TOKENS = {(4, 8): 14, (8, 4): 16, (8, 8): 24}  # of an image that fits its grid: 4 + rows·(columns + 1)
BUCKETS = llava.Buckets(prefix=(32,), suffix=(8,))
CONDITIONS = {
    "baseline": (),
    "later": (Knockout((1, 2)), Knockout((2,), BOX, TEXT)),
    "first": (Knockout((0, 1)),),
    "images": (Knockout((1,), IMAGE, IMAGE),),
    "last": (Knockout("all", LAST, QUESTION),),
}


@cache
def model(mesh=None):
    """Weights of N(0, 0.25²), embeddings of N(0, 0.01²), so that no mistake is small."""
    graphdef, shapes = abstract_model(llava.Llava, CONFIG, jnp.float32)
    draw = np.random.default_rng(0)

    def fill(path, leaf, place=None):
        name = jax.tree_util.keystr(path)
        scale = 0.01 if "embed" in name else 0.25
        values = ("scale" in name) + scale * draw.standard_normal(leaf.shape, np.float32)
        return jax.device_put(values, place)

    places = () if mesh is None else (shardings(shapes, mesh),)
    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(fill, shapes, *places))


def row(name, size=(8, 8), before=3, after=4):
    """Some text, a box of one word, an image, text, a question, and the last token; drawn from a seed of its own."""
    draw = np.random.default_rng(sum(map(ord, name)))
    types = [TEXT] * (before - 1) + [BOX] + [IMAGE] * TOKENS[size]
    types += [TEXT, BOX] + [QUESTION] * (after - 3) + [LAST]
    ids = np.where(np.array(types) == IMAGE, IMAGE_ID, draw.integers(1, IMAGE_ID, len(types)))
    tiles = 1 + size[0] * size[1] // 16
    pixels = draw.standard_normal((tiles, 3, 4, 4), np.float32)
    return llava.EncodedPrompt(name, ids.astype(np.int32), np.array(types, np.int32), pixels, size)


def words(name, length=7):
    """Text alone."""
    draw = np.random.default_rng(length)
    types = np.array([TEXT] * 2 + [QUESTION] * (length - 3) + [LAST], np.int32)
    return llava.EncodedPrompt(name, draw.integers(1, IMAGE_ID, length).astype(np.int32), types, None, None)


@cache
def rows():
    """Five rows of three lengths of image: the batches of two are a and b, c and d, then e."""
    sizes = {"a": (4, 8), "b": (8, 4), "c": (8, 8), "d": (4, 8), "e": (8, 8)}
    return tuple(
        row(name, size, before=3 + at % 2, after=4 + at % 3) for at, (name, size) in enumerate(sizes.items())
    )


def capture(folder, samples=None, **changed):
    """A capture of these rows in batches of two."""
    settings = {"conditions": CONDITIONS, "buckets": BUCKETS, "batch": 2, "options": (3, 7)}
    settings |= {"groups": (IMAGE, QUESTION, LAST, BOX)} | changed
    prompts = rows() if samples is None else samples
    return llava.capture(settings.pop("model", None) or model(), prompts, store=folder, **settings)


def halting(pause):
    """The rows, and then a pause."""
    yield from rows()
    time.sleep(pause)


if __name__ == "__main__":
    with jax.default_matmul_precision("highest"):
        capture(Path(sys.argv[1]), halting(float(sys.argv[2])))
