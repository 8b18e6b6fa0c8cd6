"""Tiny LLaVA checkpoints in `golden/`, the results of Hugging Face's eager torch for them, and functions to run ours.

llava_reference.py writes the files.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from safetensors import safe_open
from safetensors.numpy import save_file

from pid import llava
from pid.llava import Knockout
from pid.llava.checkpoint.key_mapping import canonical_key
from pid.llava.model import llava as model_file

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("llava_15_llama", "llava_15_mistral", "llava_next_llama", "llava_next_mistral")
CRITERION = 2.5e-5  # relative to the largest entry of each layer
WINDOW = (Knockout((1, 2)),)


@cache
def loaded(name):
    return llava.load(GOLDEN / name, dtype=jnp.float32)


@cache
def golden(name):
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    arrays["pixel_values"] = arrays["pixel_values"].astype(np.float32)
    return arrays


def batch_of(name, **changes) -> dict[str, Any]:
    """The arguments of `forward` for the golden batch, with `changes`."""
    arrays = golden(name)
    keys = ("input_ids", "pixel_values", "image_sizes", "token_types")
    return {key: arrays.get(key) for key in keys} | changes


def programs():
    """The number of compiled programs of the forward pass."""
    compiled: Any = model_file.run
    return compiled._cache_size()


def run(name, model=None, **changes):
    return llava.forward(model or loaded(name), **batch_of(name, **changes))


def prepared(name, **changes):
    return llava.prepare(loaded(name).config, **batch_of(name, **changes))


def error(ours, theirs):
    """The maximum over layers (the leading axis) of max|difference| / max|entry|."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    axes = tuple(range(1, theirs.ndim))
    return float((np.abs(ours - theirs).max(axes) / np.abs(theirs).max(axes)).max())


def folder_of(name, path, edit=None, rename=None):
    """Copy a checkpoint as one file, with its config and its tensors edited."""
    path.mkdir(exist_ok=True)
    config = json.loads((GOLDEN / name / "config.json").read_text())
    tensors = {}
    for file in sorted((GOLDEN / name).glob("*.safetensors")):
        with safe_open(file, framework="np") as handle:
            tensors |= {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118  a handle is no mapping
    if edit is not None:
        edit(config, tensors)
    rename = rename or (lambda key: key)
    save_file({rename(key): tensor for key, tensor in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def text_arrays(name):
    """The weights of a checkpoint's language model, by the keys of a text-only model."""
    arrays = {}
    for file in sorted((GOLDEN / name).glob("*.safetensors")):
        with safe_open(file, framework="np") as handle:
            for key in handle.keys():  # noqa: SIM118
                if canonical_key(key).startswith("language_model."):
                    arrays[canonical_key(key).replace("language_model.", "model.")] = handle.get_tensor(key)
    return arrays


def mesh_of(data, model):
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
