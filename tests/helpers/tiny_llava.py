"""A very small LLaVA-1.6, prompts for it, and a capture that a test can kill.

python -m tests.helpers.tiny_llava FOLDER PAUSE          # captures, and pauses PAUSE seconds after the last row
"""

import sys
import time
from contextlib import contextmanager
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
from tests.helpers.llava_golden import error

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
TOKENS = {(4, 8): 14, (8, 4): 16, (8, 8): 24}  # image tokens by size: 4 + rows·(columns + 1)
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
    """The model with weights from N(0, 0.25²) and embeddings from N(0, 0.01²), so that mistakes have large effects."""
    graphdef, shapes = abstract_model(llava.Llava, CONFIG, jnp.float32)
    rng = np.random.default_rng(0)

    def fill(path, leaf, sharding=None):
        name = jax.tree_util.keystr(path)
        scale = 0.01 if "embed" in name else 0.25
        values = ("scale" in name) + scale * rng.standard_normal(leaf.shape, np.float32)
        return jax.device_put(values, sharding)

    by_leaf = () if mesh is None else (shardings(shapes, mesh),)
    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(fill, shapes, *by_leaf))


def row(name, size=(8, 8), before=3, after=4):
    """A prompt: random text, a word of type BOX, an image, text, a question, the last token. The name seeds it."""
    rng = np.random.default_rng(sum(map(ord, name)))
    types = [TEXT] * (before - 1) + [BOX] + [IMAGE] * TOKENS[size]
    types += [TEXT, BOX] + [QUESTION] * (after - 3) + [LAST]
    ids = np.where(np.array(types) == IMAGE, IMAGE_ID, rng.integers(1, IMAGE_ID, len(types)))
    tiles = 1 + size[0] * size[1] // 16
    pixels = rng.standard_normal((tiles, 3, 4, 4), np.float32)
    return llava.EncodedPrompt(name, ids.astype(np.int32), np.array(types, np.int32), pixels, size)


def words(name, length=7):
    """A prompt without an image."""
    rng = np.random.default_rng(length)
    types = np.array([TEXT] * 2 + [QUESTION] * (length - 3) + [LAST], np.int32)
    return llava.EncodedPrompt(name, rng.integers(1, IMAGE_ID, length).astype(np.int32), types, None, None)


@cache
def rows():
    """Five prompts with images of three lengths."""
    sizes = {"a": (4, 8), "b": (8, 4), "c": (8, 8), "d": (4, 8), "e": (8, 8)}
    return tuple(
        row(name, size, before=3 + i % 2, after=4 + i % 3) for i, (name, size) in enumerate(sizes.items())
    )


def capture(folder, samples=None, **changes):
    """Capture the prompts in batches of two, with `changes` of the arguments."""
    settings = {"conditions": CONDITIONS, "buckets": BUCKETS, "batch": 2, "options": (3, 7)}
    settings |= {"groups": (IMAGE, QUESTION, LAST, BOX)} | changes
    prompts = rows() if samples is None else samples
    return llava.capture(settings.pop("model", None) or model(), prompts, store=folder, **settings)


def rows_then_pause(pause):
    """Yield the prompts, then pause."""
    yield from rows()
    time.sleep(pause)


CRITERION = 1e-5  # relative to the largest entry of each layer
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"


@contextmanager
def quick_programs():
    """Compile without most optimizations, in a third of the time, and with matrix products in full precision."""
    jax.config.update(QUICK.lower(), True)  # noqa: FBT003
    with jax.default_matmul_precision("highest"):
        yield
    jax.config.update(QUICK.lower(), False)  # noqa: FBT003


def states_by_group(store, condition, **options):
    """The states of all groups (L+1, n, G, D)."""
    return np.stack([np.asarray(store.states(condition, group, **options)) for group in store.groups], axis=2)


def assert_same_results(store, other, conditions=CONDITIONS):
    """Assert the same rows and the same numbers, up to the order of additions."""
    assert store.names == other.names
    for name in conditions:
        assert error(states_by_group(store, name), states_by_group(other, name)) < 2 * CRITERION
        np.testing.assert_allclose(store.p_new(name), other.p_new(name), rtol=1e-4)


def files(folder):
    """The content of every file by name."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


if __name__ == "__main__":
    with jax.default_matmul_precision("highest"):
        capture(Path(sys.argv[1]), rows_then_pause(float(sys.argv[2])))
