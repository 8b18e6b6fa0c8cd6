"""`evolve` on (8, 16384, 512) bfloat16, 8 steps: every form, forward and backward, on one chip."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from experiments.aot.cases.case import Bound, Case, Workload
from pdeformer import Diffusion, evolve

SHAPE, STEPS = (8, 16384, 512), 8
COPY = "scaled copy"
FORWARD = 1.1
"""Bytes of a form, over one read and one write of the state."""
BACKWARD = 1.3
"""Bytes of its backward pass, over two reads and one write."""
SCHEDULE = {"shared": 1.0, "per channel": 1.0, "segments": 1.0, "causal": 1.0}
"""Cycles of a form on a TPU, over those that the compiler expects for a scaled copy."""
CHIPS = ("v5e-1", "v6e-1", "h100-1")


def forms() -> dict[str, Callable[..., Any]]:
    """Return the forms by name, functions of (state, coefficient, segment ids)."""

    def shared(u: Any, alpha: Any, ids: Any) -> Any:
        del ids
        return evolve(u, Diffusion(alpha[0]), steps=STEPS)

    def per_channel(u: Any, alpha: Any, ids: Any) -> Any:
        del ids
        return evolve(u, Diffusion(alpha), steps=STEPS)

    def segments(u: Any, alpha: Any, ids: Any) -> Any:
        return evolve(u, Diffusion(alpha[0]), steps=STEPS, segment_ids=ids)

    def causal(u: Any, alpha: Any, ids: Any) -> Any:
        del ids
        return evolve(u, Diffusion(alpha), steps=STEPS, causal=True)

    return {"shared": shared, "per channel": per_channel, "segments": segments, "causal": causal}


def build(
    devices: Sequence[Any], *, form: str, backward: bool = False, shape: tuple[int, ...] = SHAPE
) -> Workload:
    """Return a form, or the gradient of a form in state and coefficient."""
    place = SingleDeviceSharding(devices[0])
    state = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
    alpha = jax.ShapeDtypeStruct(shape[-1:], jnp.float32, sharding=place)
    ids = jax.ShapeDtypeStruct(shape[:-1], jnp.int32, sharding=place)
    if form == COPY:
        return Workload(jax.jit(lambda u: u * 2), (state,))
    run = forms()[form]
    if not backward:
        return Workload(jax.jit(run), (state, alpha, ids))

    def gradient(u: Any, alpha: Any, ids: Any, cotangent: Any) -> Any:
        _, pull = jax.vjp(lambda u, alpha: run(u, alpha, ids), u, alpha)
        return pull(cotangent)

    return Workload(jax.jit(gradient), (state, alpha, ids, state))


def cases() -> list[Case]:
    """Return the cases of this group."""
    result = []
    for target in CHIPS:
        result.append(Case("evolve", COPY, target, partial(build, form=COPY)))
        for form in forms():
            schedule = (Bound("cycles", SCHEDULE[form], COPY),) if target.startswith("v") else ()
            for backward in (False, True):
                result.append(
                    Case(
                        "evolve",
                        f"evolve, {form}{', backward' if backward else ''}",
                        target,
                        partial(build, form=form, backward=backward),
                        bounds=(Bound("bytes_ratio", BACKWARD),)
                        if backward
                        else (Bound("bytes_ratio", FORWARD), *schedule),
                    )
                )
    return result
