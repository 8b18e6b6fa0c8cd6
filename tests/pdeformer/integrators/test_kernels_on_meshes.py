"""A kernel on a mesh: each device computes its own sequences, and one sum is the only collective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pdeformer import Diffusion, stencil
from pdeformer.integrators.propagator import propagate

CASES = [
    ("gpu", 20, PartitionSpec("data")),
    pytest.param("gpu", 20, PartitionSpec("data", None, "model"), marks=pytest.mark.exhaustive),
    pytest.param("tpu", 130, PartitionSpec("data"), marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize(("platform", "length", "spec"), CASES)
def test_a_kernel_of_a_batch_over_devices_equals_that_of_one_device(platform, length, spec):
    mesh = jax.make_mesh(
        (2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4]
    )
    u = jnp.asarray(np.random.default_rng(0).normal(size=(4, length, 4)), jnp.float32)
    ids = jnp.asarray(np.tile(np.repeat([1, 0, 2], [5, 2, length - 7]), (4, 1)), jnp.int32)

    def run(name, u, alpha, ids):
        graph = stencil.path(length, ids, "neumann", ndim=3)

        def evolved(u, alpha):
            pde = Diffusion(alpha.reshape(1, 1, 1))
            return propagate(pde, u, graph, steps=2, method=f"kernel {platform} {name}")

        y, pull = jax.vjp(evolved, u, alpha)
        return y, pull(jnp.sin(y))

    alpha = jnp.float32(0.3)
    expected = jax.jit(run, static_argnums=0)("interpreted", u, alpha, ids)
    specs = (spec, PartitionSpec(), PartitionSpec("data"))
    arrays = [jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip((u, alpha, ids), specs, strict=True)]
    compiled = jax.jit(run, static_argnums=0).lower("split interpreted", *arrays).compile()
    output = compiled(*arrays)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), output, expected)
    assert output[0].sharding.spec == spec
    text = compiled.as_text() or ""
    assert not any(f"{word}(" in text for word in ("all-gather", "all-to-all", "collective-permute"))
    assert "all-reduce(" in text
