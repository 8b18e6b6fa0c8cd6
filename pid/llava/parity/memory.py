"""What the published models need on a mesh that need not be there: bytes per device, and one lowered forward pass.

python -m pid.llava sizes --mesh.data 1 --mesh.model 8
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from pid.llava.checkpoint.loading import abstract, placed
from pid.llava.knockout import TYPES
from pid.llava.model.language_model import GROUPS
from pid.llava.model.llava import Llava, run
from pid.llava.partitioning import MeshShape, bytes_per_device, place_of_input
from pid.llava.preprocessing.device_inputs import Inputs
from pid.llava.published_models import PUBLISHED, Published


class Size(NamedTuple):
    """The parameters of a model, counted without allocating any."""

    parameters: int
    """How many there are, vision blocks that are not loaded left out."""
    total: int
    """Their bytes."""
    per_device: int
    """The bytes that each device holds."""


def size_of(shapes: Any, mesh: Mesh | AbstractMesh) -> Size:
    """The `Size` of a dictionary of parameter shapes (see `abstract`) on a mesh."""
    counts = [(math.prod(leaf.shape), np.dtype(leaf.dtype).itemsize) for leaf in jax.tree.leaves(shapes)]
    return Size(
        parameters=sum(count for count, _ in counts),
        total=sum(count * width for count, width in counts),
        per_device=bytes_per_device(shapes, mesh),
    )


def abstract_inputs(published: Published, mesh: Mesh | AbstractMesh) -> Inputs:
    """The shapes and places of a batch of that model: one sample for each device along "data"."""
    config, samples = published.config, mesh.shape["data"]
    vision, tokens = config.vision, (samples, published.tokens)

    def some(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place_of_input(name, mesh))

    tiles = (samples, published.tiles, vision.channels, vision.image_size, vision.image_size)
    return Inputs(
        ids=some("ids", tokens, jnp.int32),
        types=some("types", tokens, jnp.int32),
        rows=some("rows", tokens, jnp.int32),
        pixels=some("pixels", tiles, jnp.float32),
        block=some("block", (config.text.layers, 1, TYPES, TYPES), jnp.bool_),
    )


def lower(
    published: Published, mesh: Mesh | AbstractMesh, *, dtype: Any, platform: str = "cpu"
) -> jax.stages.Lowered:
    """The pooled forward pass of one batch, as `forward` runs it, lowered for `platform` and not compiled."""
    config = published.config
    graphdef, shapes = abstract(Llava, config, dtype)
    traced = run.trace(
        graphdef, placed(shapes, mesh), abstract_inputs(published, mesh), collect="pooled", groups=GROUPS
    )
    return traced.lower(lowering_platforms=(platform,))


@dataclass(frozen=True)
class Sizes:
    """Count the published 7B models and lower a forward pass of each, for a mesh that need not be there."""

    mesh: MeshShape = field(default_factory=lambda: MeshShape(model=8))
    """The mesh."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of parameters and computation."""
    platform: Literal["cpu", "cuda", "tpu"] = "cpu"
    """What to lower for."""


def print_sizes(asked: Sizes) -> None:
    """Print one paragraph per model."""
    mesh, dtype = asked.mesh.abstract(), jnp.dtype(asked.dtype)
    for name, published in PUBLISHED.items():
        config = published.config
        size = size_of(abstract(Llava, config, dtype)[1], mesh)
        print(
            f"{name}\n"
            f"  parameters       {size.parameters:,}, {size.total:,} bytes in {asked.dtype}\n"
            f"  on each device   {size.per_device:,} bytes ({size.per_device / 2**30:.2f} GiB) "
            f"of data={asked.mesh.data}, model={asked.mesh.model}"
        )
        start = time.perf_counter()
        text = lower(published, mesh, dtype=dtype, platform=asked.platform).as_text()
        print(
            f"  forward pass     {asked.mesh.data} x {published.tokens} tokens (tiles: {published.tiles}), pooled: "
            f"lowered for {mesh.size} {asked.platform} devices in {time.perf_counter() - start:.1f} s, "
            f"{len(text):,} letters of StableHLO"
        )
