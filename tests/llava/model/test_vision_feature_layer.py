"""The hidden state of the vision tower that `vision_feature_layer` names, as Hugging Face counts them."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pid import llava
from pid.llava import TokenType
from pid.llava.checkpoint.loading import abstract_model
from pid.llava.model.vision import VisionTower
from tests.helpers.llava_golden import CRITERION, batch_of, error, folder_of, golden, loaded

NAME = "llava_15_mistral"


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def load(path, layer, **options):
    folder_of(NAME, path, edit=lambda config, _: config.update(vision_feature_layer=layer))
    return llava.load(path, dtype=jnp.float32, **options)


@pytest.mark.parametrize(
    ("layer", "depth"), [(0, 0), (-4, 0), (1, 1), (-3, 1), (2, 2), (-2, 2), (3, 3), (-1, 3)]
)
def test_layer_counts_hidden_states_from_both_ends(layer, depth, tmp_path):
    """Of three blocks there are four hidden states. The golden has the first three of Hugging Face's tower."""
    model = load(tmp_path, layer)
    assert model.config.vision.depth == depth
    graphdef, params = nnx.split(model.vision)
    states = jax.jit(lambda params, x: nnx.merge(graphdef, params).states(x))(
        params, golden(NAME)["pixel_values"][:1]
    )
    theirs = golden(NAME)["clip"]
    assert states.shape[0] == depth + 1
    assert error(np.asarray(states)[: len(theirs), 0], theirs[: depth + 1]) < CRITERION


def test_features_of_layer_0_are_those_before_the_first_block(tmp_path):
    """They pass the projector alone; a saved and a cached copy of such a model give the same."""
    model = load(tmp_path / "model", 0)
    graphdef, params = nnx.split(loaded(NAME).projector)
    features = jax.jit(lambda params, x: nnx.merge(graphdef, params)(x))(
        params, golden(NAME)["clip"][0, 1:][None]
    )
    ours = llava.forward(model, **batch_of(NAME))
    is_image = golden(NAME)["token_types"][0] == TokenType.IMAGE
    assert error(np.asarray(ours.residual)[:1, 0, is_image], np.asarray(features)) < CRITERION
    llava.save(model, tmp_path / "saved")
    for _ in range(2):
        copy = llava.load(tmp_path / "saved", dtype=jnp.float32, cache=tmp_path / "cache")
        np.testing.assert_array_equal(llava.forward(copy, **batch_of(NAME)).logits, ours.logits)


@pytest.mark.parametrize("layer", [4, -5, [-2, -1], [-2], []])
def test_layer_that_does_not_exist_and_a_list_are_refused(layer, tmp_path):
    words = f"vision_feature_layer must be one hidden state of 4, -4 … 3, got {layer}"
    with pytest.raises(ValueError, match=re.escape(words)):
        load(tmp_path, layer)


def test_pixels_beyond_the_last_patch_are_not_read():
    """The convolution of Hugging Face has a stride of a patch and no padding: 30 pixels are 4 patches of 7."""
    tower, pixels = loaded(NAME).vision, golden(NAME)["pixel_values"][:1]
    wider = np.pad(pixels, [(0, 0), (0, 0), (0, 2), (0, 2)], constant_values=9.0)
    params, config = nnx.state(tower), replace(tower.config, image_size=30)

    def states(config, pixels):
        graphdef = abstract_model(VisionTower, config, jnp.float32)[0]
        return jax.jit(lambda params, x: nnx.merge(graphdef, params).states(x))(params, pixels)

    np.testing.assert_array_equal(states(config, wider), states(tower.config, pixels))
