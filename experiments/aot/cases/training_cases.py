"""The training step of the Long Range Arena configurations, on slices and on single chips.

The sizes are those of `experiments.lra`; sequences have 2048 tokens, and 16384 in Path-X.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from experiments.aot.cases.case import Bound, Case, Workload
from experiments.aot.targets import TARGETS
from experiments.aot.topologies import abstract
from experiments.data.arrays.losses import classifier_loss
from experiments.data.listops.grammar import CLASSES, VOCABULARY
from pdeformer import sharding, train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import Architecture, Classifier, ModelConfig
from pdeformer.sharding.mesh import mesh_of_devices

TOKENS, PATHX_TOKENS = 2048, 16384
STEPS = 5000  # of the whole training, which only the schedule of the learning rate reads
TWO_LAYER = Architecture(
    max_len=TOKENS, head_width=32, classifier_width=128, positions="learned", attention_bias=True
)
PAPER = Architecture(
    max_len=TOKENS, layers=4, width=512, heads=8, ffn=1024, classifier_width=1024, pooling="cls"
)
PATHX = dataclasses.replace(
    PAPER, max_len=PATHX_TOKENS, pooling="mean"
)  # a CLS token would make the length odd
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "after_embedding": {"placements": ("after_embedding",), "stencil": StencilConfig("adaptive")},
    "attention_diffusion": {"attention": PDEAttentionConfig("diffusion")},
}
KERNELS = ("attention_forward", "attention_query_gradient", "attention_key_gradient")
"""Kernels of every training step, on any number of chips of a TPU."""
ADAM = train.Optimizer()


class Layout(NamedTuple):
    """Devices along each axis of the mesh."""

    data: int
    seq: int = 1
    model: int = 1

    def __str__(self) -> str:
        """Return the axes with more than one device, such as "data=4 model=4"."""
        return " ".join(f"{axis}={size}" for axis, size in self._asdict().items() if size > 1) or "one device"


def build(
    devices: Sequence[Any],
    *,
    architecture: Architecture,
    layout: Layout,
    batch: int,
    dtype: str,
    variant: str = "",
    vocabulary: int = len(VOCABULARY),
    classes: int = CLASSES,
) -> Workload:
    """Return one training step on a mesh of the devices."""
    mesh = mesh_of_devices(devices, **layout._asdict())
    config = ModelConfig(
        vocabulary=vocabulary,
        classes=classes,
        dtype=dtype,
        **dataclasses.asdict(architecture),
        **VARIANTS[variant],
    )
    graphdef, init, shardings = train.make_init(lambda rngs: Classifier(config, rngs), ADAM, STEPS, mesh)
    step = train.make_train_step(graphdef, ADAM, STEPS, mesh, shardings, classifier_loss(first_id=0))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = abstract(jax.eval_shape(init, key), shardings)
    return Workload(
        step,
        (
            state,
            batch_shapes(batch, architecture.max_len, mesh),
            abstract(key, sharding.replicated_sharding(mesh)),
        ),
    )


def kernels_of(target: str) -> tuple[str, ...]:
    """Return the kernels that a training step must run on a machine; on a GPU they have no names."""
    return KERNELS if TARGETS[target].platform == "tpu" else ()


def batch_shapes(batch: int, tokens: int, mesh: Any) -> dict[str, Any]:
    """Return the shapes of a batch, as `experiments.data` makes it."""
    rows = jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
    arrays = {
        "tokens": jax.ShapeDtypeStruct((batch, tokens), jnp.uint8),
        "lengths": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "labels": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "weights": jax.ShapeDtypeStruct((batch,), jnp.float32),
    }
    return abstract(arrays, rows)


SPLIT = Layout(4, model=4)
FORMER_COLLECTIVES = {"paper": 3.8e9, "two-layer": 835_124, "two-layer split": 57e6}
"""Bytes of collectives of a step before the residual stream was constrained, on 4 x 4 chips.

Those of the two-layer step on data alone are its gradients."""
HALF = 0.5
"""Largest share of the memory that Path-X may take."""


def cases() -> list[Case]:
    """Return the cases of this group."""
    two_layer = partial(_case, "two-layer", TWO_LAYER)
    paper = partial(_case, "paper", PAPER)
    pathx = partial(_case, "Path-X", PATHX, dtype="bfloat16", vocabulary=256, classes=2)
    unchanged = Bound("collective_bytes", 1.01 * FORMER_COLLECTIVES["two-layer"])
    quarter = Bound("collective_bytes", FORMER_COLLECTIVES["paper"] / 4)
    return [
        two_layer("v5e-1", Layout(1), 32, dtype="bfloat16"),
        two_layer("h100-1", Layout(1), 32),
        two_layer("v5e-8", Layout(8), 256),
        two_layer("v5e-8", Layout(8), 256, dtype="bfloat16"),
        two_layer("v5e-8", Layout(8), 256, variant="after_embedding"),
        two_layer("v5e-8", Layout(8), 256, variant="attention_diffusion"),
        two_layer("v5e-16", Layout(16), 256, bounds=(unchanged,)),
        two_layer(
            "v5e-16",
            Layout(8, model=2),
            256,
            bounds=(Bound("collective_bytes", FORMER_COLLECTIVES["two-layer split"]),),
        ),
        paper("v5e-8", Layout(8), 32),
        paper("v5e-8", Layout(8), 32, dtype="bfloat16", variant="after_embedding"),
        paper("v5e-8", Layout(8), 32, dtype="bfloat16", variant="attention_diffusion"),
        paper("v5e-16", SPLIT, 256, dtype="bfloat16", bounds=(quarter,)),
        paper("v5e-256", Layout(64, model=4), 1024, dtype="bfloat16"),
        paper("v5p-128", Layout(16, model=4), 256, dtype="bfloat16"),
        paper("v6e-256", Layout(128, model=2), 1024, dtype="bfloat16"),
        paper("h100-1", Layout(1), 32, dtype="bfloat16"),
        paper("h100-8", Layout(4, model=2), 256, dtype="bfloat16"),
        pathx("v5e-16", Layout(16), 32, bounds=(Bound("memory_share", HALF),)),
        pathx("h100-8", Layout(8), 32, bounds=(Bound("memory_share", HALF),)),
    ]


def _case(
    label: str,
    architecture: Architecture,
    target: str,
    layout: Layout,
    batch: int,
    *,
    dtype: str = "float32",
    variant: str = "",
    bounds: tuple[Bound, ...] = (),
    **sizes: int,
) -> Case:
    words = [label, variant, dtype, f"batch {batch}", str(layout)]
    build_step = partial(
        build, architecture=architecture, layout=layout, batch=batch, dtype=dtype, variant=variant, **sizes
    )
    program = f"training step, {', '.join(filter(None, words))}"
    return Case(
        "training", program, target, build_step, mesh=str(layout), bounds=bounds, kernels=kernels_of(target)
    )
