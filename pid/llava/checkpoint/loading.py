"""Weights: from a Hugging Face folder, or a mapping of arrays, into our modules.

Each device reads only its own slice of each tensor, so the whole model never lies on the host. Nothing is left to
chance: every parameter finds its tensors, every tensor is used once or is known not to be needed, shapes agree.

V vocabulary, D channels, L layers
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, SingleDeviceSharding

from pid.llava.checkpoint.cache import kept
from pid.llava.checkpoint.key_mapping import is_buffer, is_stacked, not_needed, sources
from pid.llava.checkpoint.safetensors_io import Index, Tensor, by_canonical_key, open_folder
from pid.llava.config import TextConfig, read_config
from pid.llava.model.language_model import Language
from pid.llava.model.llava import Llava
from pid.llava.partitioning import shardings


@functools.lru_cache(maxsize=16)
def abstract(module: Callable[..., nnx.Module], config: Any, dtype: Any) -> tuple[Any, Any]:
    """What `module(config, dtype=, rngs=)` consists of, without a byte allocated: its graph, and parameter shapes.

    The shapes, a dictionary of dictionaries, are those of every other caller too: to be read alone.
    """
    graphdef, params = nnx.split(nnx.eval_shape(lambda: module(config, dtype=dtype, rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(params)


def placed(shapes: Any, mesh: Mesh | AbstractMesh | None) -> Any:
    """The shapes with where each parameter is to lie: on the mesh by its rules, or this host's first device."""
    if mesh is None:
        here = SingleDeviceSharding(jax.local_devices()[0])
        places = jax.tree.map(lambda _: here, shapes)
    else:
        places = shardings(shapes, mesh)
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, places)


def is_transposed(name: str) -> bool:
    """Whether torch holds our parameter `name` as (outputs, inputs)."""
    return name.endswith("/kernel")


def match(
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    *,
    depth: int,
    tied: bool,
    where: str,
) -> dict[str, list[Tensor]]:
    """The tensors of each of our parameters, one or one per layer.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    keys = {name: sources(name, shape) for name, shape in shapes.items()}
    needed = {key for names in keys.values() for key in names}
    if missing := sorted(needed - set(tensors)):
        raise ValueError(
            f"every parameter needs its tensor, got none for {_listed(missing)} in {where}; the checkpoint is "
            f"incomplete, or its config.json is that of another model."
        )
    unexpected = set(tensors) - needed - not_needed(tensors, depth=depth, tied=tied)
    if unexpected:
        raise ValueError(
            f"every tensor has a place, got none for {_listed(sorted(unexpected))} in {where}; this is another "
            f"architecture, or adapters that must be merged first."
        )
    for name, names in keys.items():
        shape = shapes[name][1:] if is_stacked(name) else shapes[name]
        wanted = shape[::-1] if is_transposed(name) else shape
        for key in names:
            if tensors[key].shape != wanted:
                raise ValueError(
                    f"the config wants {key} {wanted}, got {tensors[key].shape} in {where}; config and weights "
                    f"are of different models."
                )
    return {name: [tensors[key] for key in names] for name, names in keys.items()}


def _listed(keys: list[str], most: int = 8) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def fill(targets: Any, tensors: Mapping[str, Tensor], *, depth: int, tied: bool, where: str) -> Any:
    """The dictionary of parameters that `targets` describes (see `placed`), each device reading its own slices.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(targets)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    found = match(
        {name: tuple(leaf.shape) for name, leaf in named.items()},
        tensors,
        depth=depth,
        tied=tied,
        where=where,
    )

    def make(name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        def one(tensor: Tensor, index: Index) -> np.ndarray:
            read = tensor.read(index[::-1]).T if is_transposed(name) else tensor.read(index)
            return read.astype(leaf.dtype)

        def read(index: Any) -> np.ndarray:
            if not is_stacked(name):
                return one(found[name][0], index)
            return np.stack([one(layer, index[1:]) for layer in found[name][index[0]]])

        return jax.make_array_from_callback(leaf.shape, leaf.sharding, read)

    return jax.tree.unflatten(tree, [make(name, leaf) for name, leaf in named.items()])


def load(path: str | Path, *, dtype: Any, mesh: Mesh | None = None, cache: str | Path | None = None) -> Llava:
    """LLaVA-1.5 or LLaVA-1.6 from a Hugging Face folder: config.json and safetensors, one file or several.

    dtype: of parameters and computation, float32 or bfloat16. mesh: where to, by the rules of `sharding`; None is
    the first device of this host. cache: a folder that keeps the converted weights, so that later loads, of the same
    source in the same dtype onto any mesh, restore them; the same bits as without it, see `cache.kept`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: another model, a damaged file, or tensors that are missing, unexpected or of another shape.
    """
    config, source = read_config(path), Path(path)
    graphdef, shapes = abstract(Llava, config, dtype)
    targets = placed(shapes, mesh)

    def convert() -> Any:
        with open_folder(source) as tensors:
            return fill(targets, tensors, depth=config.vision.depth, tied=config.text.tied, where=str(source))

    params = convert() if cache is None else kept(Path(cache), source, targets, convert)
    return nnx.merge(graphdef, params)


def load_text(
    config: TextConfig, arrays: Mapping[str, np.ndarray], *, dtype: Any, mesh: Mesh | None = None
) -> Language:
    """A language model of text alone from arrays by their Hugging Face keys (model.layers.0.…, lm_head.weight).

    Raises:
        ValueError: arrays that are missing, unexpected or of another shape.
    """
    where = "the arrays"
    tensors = [(key, Tensor(x.shape, x.__getitem__)) for key, x in arrays.items() if not is_buffer(key)]
    graphdef, shapes = abstract(Language, config, dtype)
    found = by_canonical_key(tensors, where)
    params = fill(placed(shapes, mesh), found, depth=0, tied=config.tied, where=where)
    return nnx.merge(graphdef, params)
