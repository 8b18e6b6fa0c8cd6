"""Memory of the published models on an abstract mesh: bytes per device, and one lowered forward pass.

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

from pid.llava.checkpoint.loading import abstract_model, with_shardings
from pid.llava.knockout import TYPES
from pid.llava.model.language_model import GROUPS
from pid.llava.model.llava import Llava, run
from pid.llava.partitioning import MeshShape, bytes_per_device, input_sharding
from pid.llava.preprocessing.device_inputs import DeviceInputs
from pid.llava.published_models import PUBLISHED_MODELS, PublishedModel


class ModelSize(NamedTuple):
    """The size of a model, counted without allocating its parameters."""

    parameters: int
    """Number of parameters, without vision blocks that are not loaded."""
    total: int
    """Bytes of all parameters."""
    per_device: int
    """Bytes that each device holds."""


def model_size(shapes: Any, mesh: Mesh | AbstractMesh) -> ModelSize:
    """The size, on a mesh, of a dictionary of parameter shapes (see `abstract_model`)."""
    counts = [(math.prod(leaf.shape), np.dtype(leaf.dtype).itemsize) for leaf in jax.tree.leaves(shapes)]
    return ModelSize(
        parameters=sum(count for count, _ in counts),
        total=sum(count * width for count, width in counts),
        per_device=bytes_per_device(shapes, mesh),
    )


def abstract_inputs(published: PublishedModel, mesh: Mesh | AbstractMesh) -> DeviceInputs:
    """The shapes and shardings of a batch of that model: one sample for each device along "data"."""
    config, samples = published.config, mesh.shape["data"]
    vision, tokens = config.vision, (samples, published.tokens)

    def abstract(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=input_sharding(name, mesh))

    tiles = (samples, published.tiles, vision.channels, vision.image_size, vision.image_size)
    mask = (config.text.num_layers, 1, TYPES, TYPES)
    return DeviceInputs(
        ids=abstract("ids", tokens, jnp.int32),
        types=abstract("types", tokens, jnp.int32),
        feature_rows=abstract("feature_rows", tokens, jnp.int32),
        pixels=abstract("pixels", tiles, jnp.float32),
        knockout_mask=abstract("knockout_mask", mask, jnp.bool_),
    )


def lower(
    published: PublishedModel, mesh: Mesh | AbstractMesh, *, dtype: Any, platform: str = "cpu"
) -> jax.stages.Lowered:
    """Lower the pooled forward pass of one batch, as `forward` runs it, for `platform`, without compiling it."""
    config = published.config
    graphdef, shapes = abstract_model(Llava, config, dtype)
    params, inputs = with_shardings(shapes, mesh), abstract_inputs(published, mesh)
    program = run.trace(graphdef, params, inputs, collect="pooled", groups=GROUPS)
    return program.lower(lowering_platforms=(platform,))


@dataclass(frozen=True)
class Sizes:
    """Count the parameters of the published 7B models and lower a forward pass. The devices need not exist."""

    mesh: MeshShape = field(default_factory=lambda: MeshShape(model=8))
    """The mesh to divide the parameters over."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Dtype of parameters and computation."""
    platform: Literal["cpu", "cuda", "tpu"] = "cpu"
    """Platform to lower the forward pass for."""


def print_sizes(command: Sizes) -> None:
    """Print one paragraph per model."""
    mesh, dtype = command.mesh.abstract(), jnp.dtype(command.dtype)
    for name, published in PUBLISHED_MODELS.items():
        config = published.config
        size = model_size(abstract_model(Llava, config, dtype)[1], mesh)
        print(
            f"{name}\n"
            f"  parameters       {size.parameters:,}, {size.total:,} bytes in {command.dtype}\n"
            f"  on each device   {size.per_device:,} bytes ({size.per_device / 2**30:.2f} GiB) "
            f"of data={command.mesh.data}, model={command.mesh.model}"
        )
        start = time.perf_counter()
        text = lower(published, mesh, dtype=dtype, platform=command.platform).as_text()
        print(
            f"  forward pass     {command.mesh.data} x {published.tokens} tokens (tiles: {published.tiles}), pooled: "
            f"lowered for {mesh.size} {command.platform} devices in {time.perf_counter() - start:.1f} s, "
            f"{len(text):,} characters of StableHLO"
        )
