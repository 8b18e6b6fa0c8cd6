"""No array of the tiled form has an entry for every pair of tokens, in no layer of a model and in no derivative."""

import functools
import math

import jax
import jax.numpy as jnp
import pytest

from pdeformer import Diffusion, ReactionDiffusion, pde_attention
from tests.helpers.programs import shapes

LENGTH, HEADS, WIDTH = 4096, 2, 8
REACTION = ReactionDiffusion(0.2, 0.1)
PERFORMER = {"base": "performer", "features": 16, "feature_key": jax.random.key(0)}


@pytest.mark.parametrize(
    ("pde", "options"),
    [
        (REACTION, {"is_causal": True}),
        (REACTION, {"is_causal": True, "window": 32}),
        (REACTION, {}),
        (None, PERFORMER | {"is_causal": True}),
        (Diffusion(0.2), PERFORMER | {"is_causal": True}),
        (Diffusion(0.2), PERFORMER),
    ],
    ids=[
        "causal reaction",
        "window",
        "reaction",
        "causal performer",
        "evolved causal performer",
        "performer",
    ],
)
@pytest.mark.parametrize("segmented", [False, True])
def test_the_derivative_of_many_layers_has_no_array_of_all_pairs(pde, options, segmented):
    attend = functools.partial(pde_attention, pde=pde, steps=0 if pde is None else 2, **options)

    def loss(u, ids):
        def layer(u, _):
            return attend(u, u, u, segment_ids=ids if segmented else None), None

        return jnp.sum(jax.lax.scan(layer, u, length=2)[0])

    u = jax.ShapeDtypeStruct((1, LENGTH, HEADS, WIDTH), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    largest = max(map(math.prod, shapes(jax.make_jaxpr(jax.grad(loss))(u, ids).jaxpr)))
    assert largest <= LENGTH**2 / 4
    assert largest >= LENGTH * HEADS * WIDTH  # the walk has found the arrays
