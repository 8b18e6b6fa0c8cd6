"""Load weights into our modules, from a Hugging Face folder or a mapping of arrays.

Each device reads only its own slice of each tensor, so the host never holds the full model. Loading checks that every
parameter has its tensors, that every tensor is used once or known not to be needed, and that all shapes agree.

V vocabulary, D channels, L layers
"""

import functools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, SingleDeviceSharding

from pid.llava.checkpoint.cache import restore_or_convert
from pid.llava.checkpoint.key_mapping import (
    canonical_key,
    is_buffer,
    is_stacked,
    is_transposed,
    tensor_keys,
    unused_keys,
    vision_layers,
)
from pid.llava.checkpoint.output_map import (
    EMBEDDING,
    OUTPUT_MAP,
    as_stored,
    fill_embedding,
    warn_of_stored_output_map,
)
from pid.llava.checkpoint.safetensors_io import Index, LazyTensor, by_canonical_key, open_folder
from pid.llava.checkpoint.weight_files import check_copies
from pid.llava.config import LlavaConfig, TextConfig, read_config, vision_layers_of
from pid.llava.model.choices import compute_dtype
from pid.llava.model.language_model import LanguageModel
from pid.llava.model.llava import Llava
from pid.llava.model_folder.config_json import check_not_quantized, read_config_fields
from pid.llava.model_folder.output_folder import output_folder
from pid.llava.partitioning import shardings

M = TypeVar("M", Llava, LanguageModel)
TEXT_LAYER = r"language_model\.layers\.\d+\."


@functools.lru_cache(maxsize=16)
def abstract_model(module: Callable[..., nnx.Module], config: Any, dtype: Any) -> tuple[Any, Any]:
    """The graph of `module(config, dtype=, rngs=)` and the shapes of its parameters, without allocating any.

    The shapes are a dictionary of dictionaries. All callers share it, so it must not be changed.
    """
    graphdef, params = nnx.split(nnx.eval_shape(lambda: module(config, dtype=dtype, rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(params)


def with_shardings(shapes: Any, mesh: Mesh | AbstractMesh | None) -> Any:
    """Add a sharding to each shape: by the partitioning rules on a mesh, or on the first device of this host."""
    if mesh is None:
        first_device = SingleDeviceSharding(jax.local_devices()[0])
        by_leaf = jax.tree.map(lambda _: first_device, shapes)
    else:
        by_leaf = shardings(shapes, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, by_leaf)


def match_tensors(
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, LazyTensor],
    *,
    depth: int,
    tie_embeddings: bool,
    where: str,
) -> dict[str, list[LazyTensor]]:
    """The tensors of each of our parameters, one or one per layer.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    keys = {name: tensor_keys(name, shape) for name, shape in shapes.items()}
    needed = {key for names in keys.values() for key in names}
    if missing := sorted(needed - set(tensors)):
        raise ValueError(
            f"every parameter needs its tensor, got none for {_enumeration(missing)} in {where}; "
            f"{_missing_remedy(missing, tensors)}."
        )
    unexpected = set(tensors) - needed - unused_keys(tensors, depth=depth, tie_embeddings=tie_embeddings)
    if unexpected:
        raise ValueError(
            f"every tensor has a place, got none for {_enumeration(sorted(unexpected))} in {where}; "
            f"{_unexpected_remedy(unexpected, needed)}."
        )
    for name, names in keys.items():
        shape = shapes[name][1:] if is_stacked(name) else shapes[name]
        expected = shape[::-1] if is_transposed(name) else shape
        for key in names:
            if tensors[key].shape != expected:
                raise ValueError(
                    f"the config wants {key} {expected}, got {tensors[key].shape} in {where}; config and weights "
                    f"are of different models."
                )
    return {name: [tensors[key] for key in names] for name, names in keys.items()}


def _missing_remedy(missing: list[str], tensors: Collection[str]) -> str:
    for key in tensors:
        for prefix in (key[: dot.end()] for dot in re.finditer(r"\.", key)):
            if canonical_key(key.removeprefix(prefix)) in missing:
                return f"the names have {prefix!r} before those of Hugging Face, as in {key}: save the model without it"
    if missing == [OUTPUT_MAP] and EMBEDDING in tensors:
        return (
            "if the output map is the embedding, set tie_word_embeddings to true in config.json; else the checkpoint "
            "is incomplete"
        )
    return "the checkpoint is incomplete, or its config.json is that of another model"


def _unexpected_remedy(unexpected: set[str], needed: set[str]) -> str:
    """What to do about tensors without a place: layers beyond the last one that the config names, or other names."""

    def without_number(key: str) -> str:
        return re.sub(TEXT_LAYER, "", key)

    if {without_number(key) for key in unexpected} <= {without_number(key) for key in needed}:
        return "the config.json has fewer layers (num_hidden_layers) than the weights: it is that of another model"
    return "this is another architecture, or adapters that must be merged first"


def _enumeration(keys: list[str], limit: int = 8) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more


def read_parameters(
    targets: Any, tensors: Mapping[str, LazyTensor], *, depth: int, tie_embeddings: bool, where: str
) -> Any:
    """Read the parameters that `targets` describes, as a dictionary. Each device reads its own slices.

    `targets` are the shapes with shardings, see `with_shardings`.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(targets)
    by_name = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    sources = match_tensors(
        {name: tuple(leaf.shape) for name, leaf in by_name.items()},
        tensors,
        depth=depth,
        tie_embeddings=tie_embeddings,
        where=where,
    )

    def make(name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        def read_one(tensor: LazyTensor, index: Index) -> np.ndarray:
            values = tensor.read(index[::-1]).T if is_transposed(name) else tensor.read(index)
            return values.astype(leaf.dtype)

        def read(index: Any) -> np.ndarray:
            if not is_stacked(name):
                return read_one(sources[name][0], index)
            return np.stack([read_one(layer, index[1:]) for layer in sources[name][index[0]]])

        return jax.make_array_from_callback(leaf.shape, leaf.sharding, read)

    return jax.tree.unflatten(tree, [make(name, leaf) for name, leaf in by_name.items()])


def _check_vision_layers(stated: int, tensors: Collection[str], where: str) -> None:
    """Raise ValueError if config.json and weights have different numbers of vision blocks.

    vision_feature_layer may count from the last block, so that another number gives the output of another block.
    """
    if (stored := vision_layers(tensors)) and stored != stated:
        raise ValueError(
            f"num_hidden_layers in the vision_config of config.json is the number of vision blocks in the weights, got "
            f"{stated} for {stored} in {where}; take both from one checkpoint."
        )


def _platform(mesh: Mesh | None) -> str:
    if not isinstance(mesh, Mesh | None):
        raise TypeError(
            f"a mesh is one of JAX, got {type(mesh).__name__}; write llava.MeshShape(data=…, model=…).concrete()."
        )
    device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
    return device.platform


def _placed(model: M, mesh: Mesh | None) -> M:
    """Separate the layers of a model on a GPU, where a scan would copy their weights in every pass."""
    if _platform(mesh) == "gpu":
        model.separate_layers()
    return model


def stored_config(path: str | Path, *, dtype: Any) -> LlavaConfig:
    """The configuration of a Hugging Face folder by its config.json and its tensors: that of the model that is loaded.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the folder holds another model, a quantized one, or two sets of weights that differ.
    """
    config, folder = read_config(path), Path(path)
    check_not_quantized(read_config_fields(path), folder)
    check_copies(folder)
    if not config.text.tie_embeddings:
        return config
    with open_folder(folder) as tensors:
        return replace(config, text=as_stored(config.text, tensors, dtype))


def load(path: str | Path, *, dtype: Any, mesh: Mesh | None = None, cache: str | Path | None = None) -> Llava:
    """Load LLaVA-1.5 or LLaVA-1.6 from a Hugging Face folder.

    Args:
        path: the folder: config.json and safetensors, in one file or several.
        dtype: dtype of parameters and computation, float32 or bfloat16, as an object or by name.
        mesh: the devices, with the axes "data" and "model". None is the first device of this host.
        cache: a folder for the converted weights. Later loads of the same source in the same dtype restore them, onto
            any mesh, with the same bits as without a cache.

    Returns:
        The model.

    Raises:
        FileExistsError: the cache is a file, or lies below one.
        FileNotFoundError: a file is missing.
        ValueError: the folder holds another model, a damaged file or two sets of weights that differ, the dtype is
            another one, or tensors are missing, unexpected or of another shape.

    Example::

        model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16, cache="weights")
        mesh = llava.MeshShape(model=8).concrete()
        model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16, mesh=mesh, cache="weights")

    The example is not executed, because it needs the weights of a model.
    """
    dtype = compute_dtype(dtype, _platform(mesh))
    cached = None if cache is None else output_folder("a cache of weights", cache)
    config, source = stored_config(path, dtype=dtype), Path(path)
    depth, tie_embeddings = config.vision.depth, config.text.tie_embeddings
    if read_config(path).text.tie_embeddings != tie_embeddings:
        warn_of_stored_output_map(str(source))
    graphdef, shapes = abstract_model(Llava, config, dtype)
    targets = with_shardings(shapes, mesh)

    def convert() -> Any:
        with open_folder(source) as tensors:
            _check_vision_layers(vision_layers_of(source), tensors, str(source))
            tensors = fill_embedding(config.text, tensors)
            return read_parameters(
                targets, tensors, depth=depth, tie_embeddings=tie_embeddings, where=str(source)
            )

    params = convert() if cached is None else restore_or_convert(cached, source, targets, convert)
    return _placed(nnx.merge(graphdef, params), mesh)


def load_text(
    config: TextConfig, arrays: Mapping[str, np.ndarray], *, dtype: Any, mesh: Mesh | None = None
) -> LanguageModel:
    """Load a text-only language model from arrays by their Hugging Face keys.

    Args:
        config: configuration of the model.
        arrays: the weights by key (model.layers.0.…, lm_head.weight), in torch's shapes.
        dtype: dtype of parameters and computation, float32 or bfloat16.
        mesh: the devices, with the axes "data" and "model". None is the first device of this host.

    Returns:
        The language model.

    Raises:
        ValueError: arrays are missing, unexpected or of another shape.

    Example::

        arrays = safetensors.numpy.load_file("llama/model.safetensors")
        model = llava.load_text(config, arrays, dtype=jnp.float32)

    The example is not executed, because it needs the weights of a model.
    """
    if not isinstance(config, TextConfig) or not isinstance(arrays, Mapping):
        raise TypeError(
            f"a text model has a TextConfig and arrays by key, got {type(config).__name__} and "
            f"{type(arrays).__name__}; pass config.text, and the arrays of safetensors.numpy.load_file."
        )
    for key, array in arrays.items():
        if (
            not isinstance(key, str)
            or not hasattr(array, "dtype")
            or not jnp.issubdtype(array.dtype, jnp.floating)
        ):
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(
                f"weights are arrays of floats by their keys, got {kind} for {key!r}; convert it."
            )
    where, dtype = "the arrays", compute_dtype(dtype, _platform(mesh))
    items = [(key, LazyTensor(x.shape, x.__getitem__)) for key, x in arrays.items() if not is_buffer(key)]
    tensors = by_canonical_key(items, where)
    if (stored := as_stored(config, tensors, dtype)) != config:
        warn_of_stored_output_map(where)
    graphdef, shapes = abstract_model(LanguageModel, stored, dtype)
    params = read_parameters(
        with_shardings(shapes, mesh),
        fill_embedding(stored, tensors),
        depth=0,
        tie_embeddings=stored.tie_embeddings,
        where=where,
    )
    return _placed(nnx.merge(graphdef, params), mesh)
