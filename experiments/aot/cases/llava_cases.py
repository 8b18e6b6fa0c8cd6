"""Capture of LLaVA-7B in bfloat16: baseline, a window of knockouts around each layer, and one over all layers.

The weights are shapes. The prefix has 640 tokens and the suffix 64.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh

from experiments.aot.cases.case import Bound, Case, Workload
from pid import llava
from pid.llava.activations import shared_prefix
from pid.llava.activations.batching import stack_knockout_masks
from pid.llava.checkpoint.loading import abstract_model, with_shardings
from pid.llava.knockout import Knockout
from pid.llava.model.language_model import GROUPS
from pid.llava.model.llava import Llava
from pid.llava.partitioning import input_sharding
from pid.llava.preprocessing.device_inputs import DeviceInputs

PREFIX, SUFFIX = 640, 64
NAME = "llava-1.5-7b-hf"
FORMER_BYTES = 224e9
"""Bytes of one sample on an H100 with copies of the weights of every layer in the scan."""


POOLED_CYCLES = 30e6
"""Cycles of the pooled states of eight samples on a v5e-8: a quarter of those of all conditions in every layer."""


def build(devices: Sequence[Any], *, data: int, model: int, batch: int, states: bool = True) -> Workload:
    """Return the capture of a batch in two phases on a mesh of the devices, with pooled states or only answers."""
    mesh = Mesh(np.array(devices).reshape(data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    config = llava.PUBLISHED_MODELS[NAME].config
    layers = config.text.num_layers
    graphdef, shapes = abstract_model(Llava, config, jnp.bfloat16)
    params = with_shardings(shapes, mesh)
    if jax.default_backend() == "gpu":  # as `llava.load` does
        model_ = nnx.merge(graphdef, params)
        model_.separate_layers()
        graphdef, params = nnx.split(model_)
    windows = [(Knockout(window),) for window in llava.windows(layers)]
    masks = stack_knockout_masks([(), *windows, (Knockout("all"),)], layers)

    def rows(name: str, *shape: int, dtype: Any = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct((batch, *shape), dtype, sharding=input_sharding(name, mesh))

    def whole(array: Any) -> Any:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=input_sharding("knockout_mask", mesh))

    tokens, side = PREFIX + SUFFIX, config.vision.image_size
    inputs = DeviceInputs(
        ids=rows("ids", tokens),
        types=rows("types", tokens),
        feature_rows=rows("feature_rows", tokens),
        pixels=rows("pixels", 1, config.vision.channels, side, side, dtype=jnp.float32),
        knockout_mask=whole(masks[0]),
    )
    indices = np.arange(len(masks), dtype=np.int32)
    arguments = (masks, masks[:0], indices, indices if states else indices[:0], indices[:2])
    return Workload(
        shared_prefix.measure,
        (graphdef, params, inputs, *map(whole, arguments)),
        static={"prefix": PREFIX, "groups": GROUPS},
        unknown_trips=mean_rounds(masks),
    )


def mean_rounds(masks: np.ndarray) -> float:
    """Return in how many rounds a layer runs the conditions that it has to run, as a mean over the layers."""
    first = np.asarray(shared_prefix.first_knockout_layer(jnp.asarray(masks)))
    chunk = -(-(1 + len(masks)) // shared_prefix.ROUNDS)
    active = 1 + (first[:, None] <= np.arange(masks.shape[1])).sum(axis=0)
    return float(np.mean(-(-active // chunk)))


def cases() -> list[Case]:
    """Return the cases of this group."""
    return [
        _case("v5e-8", 1, 8, 1),
        _case("v5e-8", 1, 8, 8, bounds=(Bound("cycles", 1.0, _title(8, states=False), plus=POOLED_CYCLES),)),
        _case("v5e-8", 1, 8, 8, states=False),
        _case("h100-1", 1, 1, 1, bounds=(Bound("moved_bytes", 0.6 * FORMER_BYTES),)),
        _case("h100-1", 1, 1, 8),
        _case("h100-8", 8, 1, 8),
        _case("v6e-256", 32, 8, 32),
        _case("v5p-128", 16, 4, 16),
    ]


def _title(batch: int, *, states: bool = True) -> str:
    return f"LLaVA-7B capture, batch {batch}{'' if states else ', answers only'}"


def _case(
    target: str, data: int, model: int, batch: int, *, states: bool = True, bounds: tuple[Bound, ...] = ()
) -> Case:
    mesh = f"data={data} model={model}"
    capture = partial(build, data=data, model=model, batch=batch, states=states)
    return Case("llava", _title(batch, states=states), target, capture, mesh=mesh, bounds=bounds)
