"""Attention with B = 1, N = 8 heads of H = 64, bfloat16: plain, folded and causal, at three lengths, on one chip."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from experiments.aot.cases.case import Bound, Case, Workload
from pdeformer import Diffusion, pde_attention
from pdeformer.attention import dot_product_attention

HEADS, WIDTH, STEPS = 8, 64, 4
LENGTHS = (8192, 32768, 131072)
BOUNDED_LENGTH = 32768
TEMPORARIES = {False: 64e6, True: 2e9}
"""Largest temporaries forward and backward, in bytes."""
OVER_PLAIN = {"folded": 1.05, "folded causal": 1.15}
"""Bytes of evolved attention over those of plain attention, where a kernel counts every block that it reads again.

Flash attention reads keys and values once for every block of queries, on a TPU and on a GPU, and so do both sides.
"""
FORMS = ("plain", "folded", "folded causal")
CHIPS = ("v5e-1", "h100-1")
LARGER_CHIPS = ("v5p-1", "v6e-1")
"""Chips on which only the causal fold with its gradient is compiled, at the greatest length."""


def build(devices: Sequence[Any], *, form: str, tokens: int, backward: bool = False) -> Workload:
    """Return attention, or attention with its gradient in query, key and value."""
    place = SingleDeviceSharding(devices[0])
    array = jax.ShapeDtypeStruct((1, tokens, HEADS, WIDTH), jnp.bfloat16, sharding=place)

    def attend(query: Any, key: Any, value: Any) -> Any:
        if form == "plain":
            return dot_product_attention(query, key, value)
        return pde_attention(
            query, key, value, Diffusion(0.1), steps=STEPS, is_causal=form == "folded causal"
        )

    if not backward:
        return Workload(jax.jit(attend), (array,) * 3)

    def with_gradient(query: Any, key: Any, value: Any, cotangent: Any) -> Any:
        output, pull = jax.vjp(attend, query, key, value)
        return output, pull(cotangent)

    return Workload(jax.jit(with_gradient), (array,) * 4)


def title(form: str, tokens: int, *, backward: bool = False) -> str:
    """Return the name of a program."""
    return f"{form} attention, T={tokens}{', with gradient' if backward else ''}"


def cases() -> list[Case]:
    """Return the cases of this group."""
    large = [_case(target, FORMS[-1], LENGTHS[-1], backward=True) for target in LARGER_CHIPS]
    everything = itertools.product(CHIPS, LENGTHS, (False, True), FORMS)
    return [
        _case(target, form, tokens, backward=backward) for target, tokens, backward, form in everything
    ] + large


def _case(target: str, form: str, tokens: int, *, backward: bool) -> Case:
    bounds = []
    if tokens == BOUNDED_LENGTH:
        bounds.append(Bound("temporary_bytes", TEMPORARIES[backward]))
        if form in OVER_PLAIN:
            bounds.append(Bound("loaded_bytes", OVER_PLAIN[form], title("plain", tokens, backward=backward)))
    return Case(
        "attention",
        title(form, tokens, backward=backward),
        target,
        partial(build, form=form, tokens=tokens, backward=backward),
        tokens=tokens,
        bounds=tuple(bounds),
    )
