"""A list of blocks computes what their stack computes, and takes its place in memory."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pid import llava
from pid.llava.checkpoint.loading import abstract_model
from tests.helpers import tiny_llava
from tests.helpers.llava_golden import CRITERION, GOLDEN, WINDOW, error, mesh_of, run

NAME = "llava_next_mistral"


def test_separate_layers_compute_the_same_and_save_the_same_bits(tmp_path):
    model = llava.load(GOLDEN / NAME, dtype=jnp.float32)
    theirs, stacked = run(NAME, model, knockouts=WINDOW), model.language.blocks.query.kernel[...]
    llava.save(model, tmp_path / "stacked")
    weights, layer = sum(x.nbytes for x in jax.tree.leaves(model.language.blocks)), np.asarray(stacked[2])
    model.separate_layers()
    assert stacked.is_deleted()
    blocks = model.language.blocks
    assert (len(blocks), sum(x.nbytes for x in jax.tree.leaves(blocks))) == (len(stacked), weights)
    np.testing.assert_array_equal(blocks[2].query.kernel[...], layer)
    ours = run(NAME, model, knockouts=WINDOW)
    for field in ("residual", "final", "logits"):
        assert error(getattr(ours, field), getattr(theirs, field)) < CRITERION / 10
    llava.save(model, tmp_path / "separate")
    files = [tmp_path / kind / "model.safetensors" for kind in ("stacked", "separate")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_separate_layers_capture_the_same(tmp_path):
    model = tiny_llava.model()
    with tiny_llava.quick_programs():
        stacked = tiny_llava.capture(tmp_path / "stacked", model=model)
        model.separate_layers()
        separate = tiny_llava.capture(tmp_path / "separate", model=model)
    tiny_llava.assert_same_results(separate, stacked)


def test_separate_layers_stay_split_over_a_mesh():
    model = llava.load(GOLDEN / NAME, dtype=jnp.float32, mesh=mesh_of(2, 4))
    model.separate_layers()
    blocks = model.language.blocks
    assert blocks[0].query.kernel[...].addressable_shards[0].data.shape == (32, 8)
    assert blocks[0].down.kernel[...].sharding.spec == jax.P("model")


def test_shapes_have_separate_layers_too():
    graphdef, shapes = abstract_model(llava.Llava, tiny_llava.CONFIG, jnp.bfloat16)

    def build():
        return nnx.merge(graphdef, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    model = nnx.eval_shape(build)
    model.separate_layers()
    kernels = [block.query.kernel for block in model.language.blocks]
    assert [(kernel.shape, kernel.dtype) for kernel in kernels] == 3 * [((16, 16), jnp.bfloat16)]
