"""Group means on a mesh, where each device takes its share of the channels, equal those of one device."""

import jax
import numpy as np
import pytest

from pid.llava.model.language_model import pool_raw_and_normalized
from tests.helpers.llava_golden import mesh_of


@pytest.mark.parametrize(("data", "model", "channels"), [(2, 4, 16), (1, 8, 16), (2, 4, 6)])
def test_means_by_shares_of_the_channels(data, model, channels):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, 7, channels), np.float32) * np.linspace(1, 9, channels, dtype=np.float32)
    weights = rng.random((2, 3, 7), np.float32)
    theirs = [
        np.einsum("bgt,btd->bgd", weights, x) for x in (u, u / np.sqrt((u**2).mean(-1, keepdims=True) + 1e-5))
    ]
    mesh = mesh_of(data, model)
    placed = jax.device_put((weights, u), jax.NamedSharding(mesh, jax.P("data")))
    ours = jax.jit(pool_raw_and_normalized, static_argnums=2)(*placed, 1e-5)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert a.sharding.shard_shape(a.shape)[2] == (
            channels // model if channels % model == 0 else channels
        )
