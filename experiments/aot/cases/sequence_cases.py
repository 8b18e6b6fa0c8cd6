"""Programs whose sequence is split over devices: `evolve` with one exchange of halos, and a training step."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from experiments.aot.cases.case import Bound, Case, Workload
from experiments.aot.cases.training_cases import PATHX, Layout, kernels_of
from experiments.aot.cases.training_cases import build as build_step
from pdeformer import Diffusion, sharding
from pdeformer.sharding.mesh import mesh_of_devices

SHAPE, STEPS = (8, 65536, 512), 8
EXCHANGES = 2
"""Collective-permutes of one call: a halo to the left and one to the right."""


def build_evolve(devices: Sequence[Any], *, layout: Layout) -> Workload:
    """Return `evolve_sequence_parallel` of a bfloat16 state whose tokens are split over "seq"."""
    mesh = mesh_of_devices(devices, **layout._asdict())
    place = NamedSharding(mesh, PartitionSpec("data", "seq"))
    state = jax.ShapeDtypeStruct(SHAPE, jnp.bfloat16, sharding=place)
    return Workload(
        jax.jit(lambda u: sharding.evolve_sequence_parallel(u, Diffusion(0.2), steps=STEPS, mesh=mesh)),
        (state,),
    )


def build_pathx(devices: Sequence[Any], *, layout: Layout, batch: int) -> Workload:
    """Return the training step of Path-X with its tokens split over "seq"."""
    return build_step(
        devices,
        architecture=PATHX,
        layout=layout,
        batch=batch,
        dtype="bfloat16",
        vocabulary=256,
        classes=2,
        variant="attention_diffusion",
    )


def cases() -> list[Case]:
    """Return the cases of this group."""
    exchanges = Bound("collective_permutes", EXCHANGES)
    evolve = [
        Case(
            "sequence",
            f"evolve, sequence split, {layout}",
            target,
            partial(build_evolve, layout=layout),
            mesh=str(layout),
            bounds=(exchanges,),
        )
        for target, layout in (("v5e-8", Layout(2, seq=4)), ("h100-8", Layout(2, seq=4)))
    ]
    slices = (
        ("v5e-8", Layout(2, seq=4), 16),
        ("v5e-256", Layout(32, seq=8), 128),
        ("v5p-128", Layout(8, seq=8), 64),
        ("v6e-256", Layout(32, seq=8), 128),
        ("h100-8", Layout(2, seq=4), 16),
    )
    pathx = [
        Case(
            "sequence",
            f"training step, Path-X, attention_diffusion, bfloat16, batch {batch}, {layout}",
            target,
            partial(build_pathx, layout=layout, batch=batch),
            mesh=str(layout),
            bounds=(Bound("memory_share", 0.5),),
            kernels=kernels_of(target),
        )
        for target, layout, batch in slices
    ]
    return evolve + pathx
