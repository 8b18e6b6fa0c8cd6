"""Products of a model in float32 have all digits on every device; those of a model in bfloat16 take one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.pid_llava.toy import curriculum
from experiments.pid_llava.toy.toy_model import CONFIG
from pid import llava, toyworld
from tests.helpers.programs import short_products


@pytest.mark.parametrize(("dtype", "shortened"), [(jnp.float32, False), (jnp.bfloat16, True)])
def test_a_model_in_float32_has_all_digits_on_a_tpu(dtype, shortened):
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: llava.Llava(CONFIG, dtype=dtype, rngs=nnx.Rngs(0))))
    batch = curriculum.answers(list(toyworld.generate(2, seed=0)))
    arrays = {name: jax.ShapeDtypeStruct(np.shape(x), jnp.asarray(x).dtype) for name, x in batch.items()}

    def logits(params, batch):
        return curriculum.logits(nnx.merge(graphdef, params), batch)

    short, count = short_products(logits, shapes, arrays)
    assert count > 10
    assert not short
    if shortened:
        with_bfloat16 = jax.jit(logits).trace(shapes, arrays).lower(lowering_platforms=("tpu",)).as_text()
        assert "xbf16" in with_bfloat16
        assert with_bfloat16.count("DEFAULT, DEFAULT") > 10
