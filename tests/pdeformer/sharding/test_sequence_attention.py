"""Attention over a split sequence equals one device, with gradients, for all equations: folded, and collected keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, pde_attention, sharding

RNG = np.random.default_rng(5)
B, T, N, K, H = 2, 32, 4, 2, 3
QUERY, VALUES = (RNG.normal(size=(B, T, N, H)) for _ in range(2))
KEY, VALUE = (RNG.normal(size=(B, T, K, H)) for _ in range(2))
IDS = np.array(
    [[1] * 19 + [2] * 11 + [0] * 2, [0] * 2 + [4] * 3 + [0] + [4] * 26], np.int32
)  # across all cuts
PDES: dict[str, Any] = {
    "none": None,
    "diffusion": Diffusion(0.3),
    "wave": Wave(np.array([0.3, 0.5, 0.9, 0.2])),
    "advection": AdvectionDiffusion(0.2, np.array([0.3, -0.3, 0.5, 0.1])),
    "each step": Diffusion(np.full((3, N), 0.2) + 0.05 * np.arange(N)),
    "reaction": ReactionDiffusion(0.2, 0.3),
}
LINEAR = [name for name in PDES if name != "reaction"]
SEGMENTS: dict[str, Any] = {"segment_ids": IDS}
CAUSAL: dict[str, Any] = {"is_causal": True}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name in LINEAR for options in ({}, SEGMENTS, CAUSAL, CAUSAL | SEGMENTS)),
    *((name, {"axis": axis}) for name in ("diffusion", "advection") for axis in ("query", "both")),
    *(
        (name, {"axis": axis, "target": "logits"})
        for name in ("wave", "advection")
        for axis in ("key", "both")
    ),
    *(("diffusion", CAUSAL | {"window": r}) for r in (2, 12)),
    *(("wave", SEGMENTS | {"window": r}) for r in (2, 12)),
    *(
        ("advection", SEGMENTS | {"axis": "query", "renormalize": "l1"}),
        ("reaction", {}),
        ("reaction", CAUSAL | SEGMENTS),
    ),
    ("reaction", {"order": "reaction_first"} | SEGMENTS),
    *(
        ("diffusion", {"base": "performer", "features": 8} | options)
        for options in ({}, CAUSAL, {"axis": "query"})
    ),
    *((name, {"dropout": 0.3} | options) for name in ("none", "diffusion") for options in (SEGMENTS, CAUSAL)),
    *((name, CAUSAL | {"key_segment_ids": IDS > 0}) for name in ("none", "diffusion")),
]
SAMPLE = [("wave", CAUSAL | SEGMENTS | {"dropout": 0.3})]


def name_of(case):
    name, options = case
    return " ".join(
        [name, *(k if isinstance(v, np.ndarray) or v is True else f"{k}={v}" for k, v in options.items())]
    )


def keywords(options):
    keys = {"dropout": "dropout_key", "base": "feature_key"}
    return {"steps": 3} | options | {keys[k]: jax.random.key(1) for k in options if k in keys}


def value_and_gradients(function, **options):
    @jax.jit
    def run(*arrays):
        y, pullback = jax.vjp(lambda *x: function(*x, **options), *arrays)
        return y, pullback(jnp.asarray(VALUES, y.dtype))

    return run


def check(case, mesh, *, dtype=jnp.float64, bound=1e-11):
    name, options = case
    pde = jax.tree.map(lambda x: jnp.asarray(x, dtype), PDES[name])
    arrays = [jnp.asarray(x, dtype) for x in (QUERY, KEY, VALUE)]
    expected = value_and_gradients(pde_attention, **keywords(options))(*arrays, pde)
    parallel = sharding.pde_attention_sequence_parallel
    output = value_and_gradients(parallel, mesh=mesh, **keywords(options))(*arrays, pde)
    for x, y in zip(jax.tree.leaves(output), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=bound * max(1, np.abs(np.asarray(y)).max()))


@pytest.mark.parametrize("case", SAMPLE, ids=name_of)
def test_a_split_sequence_equals_one_device_with_its_gradients(case, x64):
    check(case, sharding.make_mesh(data=1, seq=4, model=2))


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES, ids=name_of)
@pytest.mark.parametrize("sizes", [(2, 4, 1), (2, 2, 2), (1, 8, 1)])
def test_every_form_equals_one_device_on_every_mesh(case, sizes, x64):
    """On eight shards of four tokens, the band of a causal row reaches over a whole neighbor."""
    data, seq, model = sizes
    check(case, sharding.make_mesh(data=data, seq=seq, model=model))
