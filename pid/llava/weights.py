"""Weights: from a Hugging Face folder, or a mapping of arrays, into our modules.

Each device reads only its own slice of each tensor, so the whole model never lies on the host. Nothing is left to
chance: every parameter finds its tensors, every tensor is used once or is known not to be needed, shapes agree.

V vocabulary, D channels, L layers
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, SingleDeviceSharding
from safetensors import SafetensorError, safe_open

from pid.llava.config import TextConfig, read_config
from pid.llava.keys import canon, is_buffer, is_stacked, not_needed, sources
from pid.llava.language import Language
from pid.llava.model import Llava
from pid.llava.sharding import shardings

M = TypeVar("M", bound=nnx.Module)
Index = tuple[slice, ...]
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Tensor:
    """A tensor that is not read yet."""

    shape: tuple[int, ...]
    """Its shape, in torch's order."""
    read: Callable[[Index], np.ndarray]
    """Reads a slice of it."""


def abstract(build: Callable[[], nnx.Module]) -> tuple[Any, Any]:
    """What a module consists of, without a byte allocated: its graph, and a dictionary of parameter shapes."""
    graphdef, params = nnx.split(nnx.eval_shape(build))
    return graphdef, nnx.to_pure_dict(params)


def by_canonical_key(tensors: Iterable[tuple[str, Tensor]], where: str) -> dict[str, Tensor]:
    """The tensors by canonical key. Raises ValueError if two keys mean the same."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors:
        if canon(key) in found:
            raise ValueError(
                f"a parameter has one tensor, got a second, {key}, in {where}; remove one of them."
            )
        found[canon(key)] = tensor
    return found


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


def fill(
    build: Callable[[], M],
    tensors: Mapping[str, Tensor],
    *,
    depth: int,
    tied: bool,
    where: str,
    mesh: Mesh | None,
) -> M:
    """The module that `build` makes, with the tensors in it, each device reading its own slices.

    Raises:
        ValueError: names every tensor that is missing, unexpected or of another shape.
    """
    graphdef, shapes = abstract(build)
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    found = match(
        {name: tuple(leaf.shape) for name, leaf in named.items()},
        tensors,
        depth=depth,
        tied=tied,
        where=where,
    )
    here = SingleDeviceSharding(jax.devices()[0])
    places = [here] * len(leaves) if mesh is None else jax.tree.leaves(shardings(shapes, mesh))

    def make(name: str, leaf: Any, place: Any) -> jax.Array:
        def one(tensor: Tensor, index: Index) -> np.ndarray:
            read = tensor.read(index[::-1]).T if is_transposed(name) else tensor.read(index)
            return read.astype(leaf.dtype)

        def read(index: Any) -> np.ndarray:
            if not is_stacked(name):
                return one(found[name][0], index)
            return np.stack([one(layer, index[1:]) for layer in found[name][index[0]]])

        return jax.make_array_from_callback(leaf.shape, place, read)

    arrays = [make(name, leaf, place) for (name, leaf), place in zip(named.items(), places, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, arrays))


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"a model folder has its weights as safetensors, found no {', '.join(lost)} in {folder}; download "
            f"them all."
        )
    return [folder / name for name in names]


def _tensor(handle: Any, key: str, file: Path) -> Tensor:
    part = handle.get_slice(key)
    if part.get_dtype() not in FLOATS:
        raise ValueError(
            f"weights are floating, got {part.get_dtype()} for {key} in {file.name}; use a checkpoint that is "
            f"not quantised."
        )
    return Tensor(tuple(part.get_shape()), lambda index: part[index])


@contextmanager
def open_folder(folder: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a Hugging Face folder by canonical key, readable as long as the context is open.

    Raises:
        FileNotFoundError: a file of weights is missing.
        ValueError: a file is damaged, or weights are not floating.
    """
    with ExitStack() as opened:

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for file in _files(folder):
                try:
                    handle = opened.enter_context(safe_open(file, framework="np"))
                except SafetensorError as problem:
                    raise ValueError(
                        f"a file of weights must be whole, got {file.name} of {file.stat().st_size} bytes: "
                        f"{problem}; download it again."
                    ) from problem
                for key in handle.keys():  # noqa: SIM118  a handle is no mapping
                    if not is_buffer(key):
                        yield key, _tensor(handle, key, file)

        yield by_canonical_key(tensors(), str(folder))


def load(path: str | Path, *, dtype: Any, mesh: Mesh | None = None) -> Llava:
    """LLaVA-1.5 or LLaVA-1.6 from a Hugging Face folder: config.json and safetensors, one file or several.

    dtype: of parameters and computation, float32 or bfloat16. mesh: where to, by the rules of `sharding`; None is
    the first device.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: another model, a damaged file, or tensors that are missing, unexpected or of another shape.
    """
    config = read_config(path)
    with open_folder(Path(path)) as tensors:
        return fill(
            lambda: Llava(config, dtype=dtype, rngs=nnx.Rngs(0)),
            tensors,
            depth=config.vision.depth,
            tied=config.text.tied,
            where=str(path),
            mesh=mesh,
        )


def load_text(
    config: TextConfig, arrays: Mapping[str, np.ndarray], *, dtype: Any, mesh: Mesh | None = None
) -> Language:
    """A language model of text alone from arrays by their Hugging Face keys (model.layers.0.…, lm_head.weight).

    Raises:
        ValueError: arrays that are missing, unexpected or of another shape.
    """

    tensors = [(key, Tensor(x.shape, x.__getitem__)) for key, x in arrays.items() if not is_buffer(key)]
    return fill(
        lambda: Language(config, dtype=dtype, rngs=nnx.Rngs(0)),
        by_canonical_key(tensors, "the arrays"),
        depth=0,
        tied=config.tied,
        where="the arrays",
        mesh=mesh,
    )
