"""On a mesh: manual axes with their check, explicit axes, and a batch split by the compiler without a gather."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, attention, evolve
from pdeformer.stencil.arguments import convert_segment_ids

pde_attention: Any = attention.pde_attention
RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(4, 6, 2, 3)).astype(np.float32)
IDS = np.tile([[1, 1, 1, 2, 2, 0]], (4, 1)).astype(np.int32)
DATA = PartitionSpec("data")


def hidden(query):
    return jnp.abs(query.reshape(*query.shape[:2], -1))


FUNCTIONS = {
    "evolve": lambda q, ids: evolve(hidden(q), Wave(0.3), steps=3),
    "evolve on segments": lambda q, ids: evolve(
        hidden(q), AdvectionDiffusion(0.2, 0.1), steps=3, segment_ids=ids
    ),
    "evolve by many steps": lambda q, ids: evolve(hidden(q), Diffusion(0.2), steps=65),
    "evolve few channels": lambda q, ids: evolve(
        hidden(q)[..., :2], AdvectionDiffusion(0.2, 0.1), steps=3, causal=True
    ),
    "evolve a reaction": lambda q, ids: evolve(hidden(q), ReactionDiffusion(0.1, 0.2), steps=3),
    "plain": lambda q, ids: attention.dot_product_attention(q, q, q, segment_ids=ids, is_causal=True),
    "linear biases": lambda q, ids: attention.dot_product_attention(
        q, q, q, segment_ids=ids, window=2, slopes=jnp.asarray([0.5, 0.25])
    ),
    "folded": lambda q, ids: pde_attention(q, q, q, Diffusion(0.2), steps=2, is_causal=True),
    "tiled": lambda q, ids: pde_attention(q, q, q, ReactionDiffusion(0.1, 0.2), steps=2, segment_ids=ids),
    "materialized": lambda q, ids: pde_attention(q, q, q, Wave(0.3), steps=2, method="materialized"),
    "weights": lambda q, ids: attention.pde_attention_weights(q, q, Diffusion(0.2), steps=2),
}


def mesh(kind):
    return jax.make_mesh((4,), ("data",), axis_types=(kind,), devices=jax.devices()[:4])


def value_and_gradient(function):
    def run(query, ids):
        output, pullback = jax.vjp(lambda q: function(q, ids), query)
        return output, pullback(jnp.sin(output))[0]

    return run


def close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5), a, b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_over_devices_equals_one_device(name):
    """Under `shard_map` with its check, with axes of the compiler, whose program gathers nothing, and explicit ones."""
    run = value_and_gradient(FUNCTIONS[name])
    expected = jax.jit(run)(QUERY, IDS)
    for kind in (AxisType.Auto, AxisType.Explicit):
        arrays = [jax.device_put(x, NamedSharding(mesh(kind), DATA)) for x in (QUERY, IDS)]
        compiled = jax.jit(run).lower(*arrays).compile()
        output = compiled(*arrays)
        close(output, expected)
        assert all(x.sharding.spec[0] == "data" for x in output)
        assert not any(
            word in (compiled.as_text() or "") for word in ("all-gather", "all-to-all", "collective-permute")
        )
        if kind == AxisType.Auto:
            mapped = jax.shard_map(run, mesh=mesh(kind), in_specs=(DATA, DATA), out_specs=(DATA, DATA))
            close(jax.jit(mapped)(*arrays), expected)


def test_a_coefficient_of_each_shard_is_served():
    """A coefficient that varies over the mesh while the state does not."""
    u = jnp.asarray(hidden(QUERY))
    alphas = jnp.asarray([0.1, 0.2, 0.3, 0.4])

    def run(alphas):
        return evolve(u, Diffusion(alphas[0]), steps=2)[None]

    mapped = jax.shard_map(run, mesh=mesh(AxisType.Auto), in_specs=DATA, out_specs=DATA)
    close(
        jax.jit(mapped)(alphas), jnp.stack([evolve(u, Diffusion(a), steps=2) for a in (0.1, 0.2, 0.3, 0.4)])
    )


def test_segment_ids_stay_on_their_devices():
    ids = jax.device_put(IDS, NamedSharding(mesh(AxisType.Auto), DATA))
    with jax.transfer_guard("disallow"):
        converted = convert_segment_ids(ids)
    assert converted.sharding == ids.sharding
