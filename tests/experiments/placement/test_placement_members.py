"""Members that train together are what they are alone: weights, losses, hits, stops, on any number of devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.placement.layer_kinds import ALL_PLACES, KINDS, layer_parameters
from experiments.placement.switched_model import (
    OUTSIDE_BLOCKS,
    HeatStep,
    SwitchedLayer,
    initial_layers,
    make_settings,
    switch_layers,
)
from experiments.placement.variant_families import BASE, Variant
from experiments.run.training.member_programs import default_concurrency
from pdeformer.layers import HeatLayer, StencilConfig
from pdeformer.model import INNER_PLACEMENTS, PLACEMENTS, POSITIONS_ONLY, Classifier, ModelConfig
from tests.experiments.placement.placement_tasks import TASK, one, train_alone, train_together
from tests.helpers.sampling import sample
from tests.pdeformer.model.numpy_transformer import TINY, NumpyTransformer, tokens

STEPS = 10
PLACES = (*PLACEMENTS, POSITIONS_ONLY)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return dict(TASK.data().prepare(tmp_path_factory.mktemp("data")))


def test_a_switch_is_the_layer_or_the_identity_bit_for_bit():
    layer, u = HeatLayer(0.25), jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
    off, on = (SwitchedLayer(layer, jnp.asarray(value))(u) for value in (False, True))
    assert np.array_equal(off, u)
    assert np.array_equal(on, layer(u))

    def derivative(switch):
        def loss(rate):
            own: Any = HeatLayer(0.25, learned=True)
            own.rate[...] = rate
            return jnp.sum(jnp.square(SwitchedLayer(own, jnp.asarray(bool(switch)))(u)))

        return float(jax.grad(loss)(jnp.asarray(0.1)))

    assert derivative(0) == 0 != derivative(1)


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.5, 0.6])
def test_a_step_of_heat_is_the_euler_step_of_any_alpha(alpha):
    u = np.random.default_rng(1).normal(size=(1, 6, 2)).astype(np.float32)
    ids = jnp.asarray([[1, 1, 1, 1, 0, 0]])
    step = jax.jit(lambda alpha: HeatStep(alpha)(jnp.asarray(u), ids))  # a concrete α > 1/2 is refused
    after = np.asarray(step(jnp.float32(alpha)))
    expected = u.copy()
    for j in range(4):
        left, right = u[0, max(j - 1, 0)], u[0, min(j + 1, 3)]
        expected[0, j] = u[0, j] + alpha * (left - 2 * u[0, j] + right)
    np.testing.assert_allclose(after, expected, atol=1e-6)
    if alpha <= 0.5:
        np.testing.assert_allclose(after, HeatLayer(alpha)(jnp.asarray(u), ids), atol=1e-6)


def test_the_switched_model_is_the_numpy_transformer_with_the_layer_at_that_place():
    """Wrong sides of the residual, of a norm or of a sublayer, and layers of other blocks would show here."""
    places = (*PLACES, *INNER_PLACEMENTS)
    alone = StencilConfig("heat", learned=True, alpha=0.45)
    family = dataclasses.replace(TINY, placements=places, stencil=StencilConfig("heat"))
    graphdef, params = nnx.split(Classifier(family, nnx.Rngs(0)))
    settings = make_settings([BASE, *(Variant("heat", place, 0.45) for place in places)], places)

    @jax.jit
    @lambda function: jax.vmap(function)
    def logits(settings):
        return switch_layers(nnx.merge(graphdef, params), places, settings)(tokens())

    outputs = np.asarray(logits(settings))
    for index, place in enumerate((None, *places)):
        own = () if place is None else (place,)
        single = Classifier(dataclasses.replace(TINY, placements=own, stencil=alone), nnx.Rngs(0))
        np.testing.assert_allclose(outputs[index], NumpyTransformer(single)(tokens()), atol=5e-6)
    # one diffusivity for all channels commutes with the projections, so that two pairs of places are one each
    for pair in (("before_attention", "in_attention"), ("before_ffn", "in_ffn")):
        first, second = (1 + places.index(place) for place in pair)
        np.testing.assert_allclose(outputs[first], outputs[second], atol=5e-6)
    others = outputs[:-2]  # any two of the others differ by at least twenty times that
    distance = np.abs(others[:, None] - others[None]).max(axis=(2, 3))
    assert (distance + np.eye(len(others))).min() > 1e-4


def test_every_block_has_a_layer_of_its_own():
    """With the parameters of one block changed, the output changes by another amount than with the other block's."""
    family = dataclasses.replace(TINY, placements=("after_ffn",), stencil=StencilConfig("adaptive"))
    model = Classifier(family, nnx.Rngs(0))
    settings = make_settings([Variant("adaptive", "after_ffn", 0.1)], ("after_ffn",))
    own = jax.tree.map(lambda x: x[0], settings)
    outputs = []
    for block in (None, 0, 1):
        graphdef, params = nnx.split(model)
        copy: Any = nnx.merge(graphdef, jax.tree.map(jnp.copy, params))
        if block is not None:
            rate = copy.blocks.stencils["after_ffn"].rate
            rate[...] = rate[...].at[block].add(2.0)
        outputs.append(np.asarray(switch_layers(copy, ("after_ffn",), own)(tokens())))
    assert min(np.abs(a - b).max() for a, b in zip(outputs, outputs[1:] + outputs[:1], strict=True)) > 1e-4


CASES = [("adaptive", place) for place in PLACES] + [
    *(("heat", place) for place in ("after_attention", "before_norm")),
    *(("multiscale", place) for place in ("after_embedding", "between_layers")),
    *(("convolution", place) for place in ("before_ffn", "after_ffn")),
    *(("canon", place) for place in ("before_attention", "in_attention", "in_ffn")),
    ("shift", "after_embedding"),
]


@pytest.fixture(scope="module")
def families(splits):
    """{kind: (training, state, metrics)} of all cases after some steps."""
    results = {}

    def of_kind(kind):
        if kind not in results:
            variants = [BASE, *(one(k, place) for k, place in CASES if k == kind)]
            training = train_together(variants, (0, 3), splits)
            state, metrics = training.start(), []
            for first in range(0, STEPS, 5):
                state, m = training.advance(state, first, 5)
                metrics.append(np.asarray(m.loss))
            assert training.programs.program_count == 1
            results[kind] = training, jax.device_get(state), np.concatenate(metrics, axis=-1)
        return results[kind]

    return of_kind


@pytest.mark.parametrize(("kind", "place"), sample(CASES, 6, 2))
def test_a_member_trains_as_the_step_of_lra_trains_it_alone(kind, place, splits, families):
    training, state, losses = families(kind)
    index = [v.place for v in training.family.variants].index(place)
    seed = 3
    params, alone = train_alone(one(kind, place), seed, splits, STEPS)
    np.testing.assert_allclose(losses[1, index], alone, rtol=0, atol=1e-5)
    own = jax.tree.map(lambda x: x[1, index], state.states.params)
    assert_equal_weights(own, params, place)


def assert_equal_weights(own, params, place):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        node = own
        for key in path:
            node = node[key.key]
        np.testing.assert_allclose(node, leaf, rtol=0, atol=1e-5, err_msg=str((place, path)))


def test_the_baseline_is_the_member_without_a_layer(splits, families):
    training, state, losses = families("adaptive")
    assert training.family.variants[0] == BASE
    params, alone = train_alone(BASE, 3, splits, STEPS)
    np.testing.assert_allclose(losses[1, 0], alone, rtol=0, atol=1e-5)
    own = jax.tree.map(lambda x: x[1, 0], state.states.params)
    assert_equal_weights(own, params, "baseline")
    layers = own["blocks"]["stencils"]["after_ffn"]["rate"]  # a layer that is switched off does not move
    assert np.array_equal(layers, np.full_like(layers, layer_parameters("adaptive", 0.1, 1)["rate"][0]))


@pytest.mark.parametrize(
    ("concurrency", "devices", "model"),
    [(3, 1, 1), (100, 1, 1), (1, 8, 1), (1, 8, 2), pytest.param(3, 4, 4, marks=pytest.mark.exhaustive)],
)
def test_members_are_the_same_side_by_side_and_on_several_devices(
    concurrency, devices, model, splits, families
):
    reference, _, expected = families("heat")
    family = reference.family
    training = train_together(
        family.variants, family.seeds, splits, concurrency=concurrency, devices=devices, model=model
    )
    state, metrics = training.advance(training.start(), 0, 5)
    count = len(family.variants)
    np.testing.assert_allclose(np.asarray(metrics.loss)[:, :count], expected[..., :5], rtol=0, atol=1e-5)
    leaves = jax.tree.leaves(state.states.params)
    shares = {leaf.addressable_shards[0].data.size / leaf.size for leaf in leaves}
    assert shares == {1 / devices, model / devices}  # "model" splits the matrices too
    loss, hits = training.evaluate(state.states.params, "val")
    own_state, _ = reference.advance(reference.start(), 0, 5)
    own_loss, own_hits = reference.evaluate(own_state.states.params, "val")
    np.testing.assert_allclose(loss[:, :count], own_loss, atol=1e-5)
    assert np.array_equal(hits[:, :count], own_hits)
    assert training.programs.program_count == 1


@pytest.mark.parametrize(("platform", "expected"), [("cpu", 1), ("gpu", 24), ("tpu", 24)])
def test_an_accelerator_computes_all_members_at_once(platform, expected):
    assert default_concurrency(24, platform) == expected


def test_the_batches_of_a_seed_are_those_of_lra_and_every_variant_has_them(splits, families):
    training, *_ = families("adaptive")
    batches = training.batches(4, 2)
    from experiments.data import arrays

    for k in range(2):
        for s, seed in enumerate((0, 3)):
            expected = arrays.batch(splits["train"], TASK.batch, seed=seed, step=4 + k)
            assert np.array_equal(batches["tokens"][k, s], expected.tokens)
            assert np.array_equal(batches["labels"][k, s], expected.labels)


def test_a_member_that_is_not_finite_stops_and_the_others_go_on(families):
    training, _, expected = families("heat")
    state = training.start()
    kernel = state.states.params["head"]["kernel"]
    state.states.params["head"]["kernel"] = kernel.at[1, 1, 0, 1].set(jnp.nan)
    state, _ = training.advance(state, 0, 5)
    state, later = training.advance(state, 5, 5)
    assert np.asarray(state.stopped).tolist() == [[0, 0, 0], [0, 1, 0]]
    assert np.asarray(state.states.step).tolist() == [[10, 10, 10], [10, 0, 10]]
    others = np.array([[True, True, True], [True, False, True]])
    np.testing.assert_array_equal(np.asarray(later.loss)[others], expected[..., 5:][others])


def test_the_best_weights_are_the_latest_of_equal_accuracy(families):
    training, *_ = families("heat")
    state, _ = training.advance(training.start(), 0, 5)
    first = jax.device_get(state.states.params)
    state = training.programs.keep_best(state, np.full((2, 3), 0.5, np.float32), np.ones((2, 3), bool))
    state, _ = training.advance(state, 5, 5)
    second = jax.device_get(state.states.params)
    accuracy = np.array([[0.5, 0.4, np.nan], [0.6, 0.4, 0.4]], np.float32)
    state = training.programs.keep_best(state, accuracy, np.ones((2, 3), bool))
    for own, a, b in zip(
        *(jax.tree.leaves(x) for x in (jax.device_get(state.best), first, second)), strict=True
    ):
        for seed in (0, 1):
            assert np.array_equal(own[seed, 0], b[seed, 0])
            assert np.array_equal(own[seed, 1:], a[seed, 1:])
    assert np.asarray(state.best_step).tolist() == [[10, 5, 5], [10, 5, 5]]


def test_initial_layers_are_those_of_the_layers_themselves():
    model = ModelConfig(11, width=8, layers=2, placements=("in_ffn", "after_embedding"), ffn=12)
    for kind in KINDS:
        variants = [Variant(kind, "in_ffn", KINDS[kind].default)]
        tree = initial_layers(variants, model.placements, model)
        built = dataclasses.replace(model, stencil=KINDS[kind].stencil)
        params = nnx.to_pure_dict(nnx.state(Classifier(built, nnx.Rngs(0)), nnx.Param))
        for place in model.placements if kind != "heat" else ():
            own = params[place] if place in OUTSIDE_BLOCKS else params["blocks"]["stencils"][place]
            ours = tree[place] if place in OUTSIDE_BLOCKS else tree["blocks"]["stencils"][place]
            assert own.keys() == ours.keys()
            for name in own:
                np.testing.assert_array_equal(ours[name][0], own[name])
    scaled = layer_parameters("convolution", 0.6, 1)["kernel"][:, 0]
    np.testing.assert_allclose(scaled, [0.6, -1.2, 0.6], atol=1e-6)
    assert set(ALL_PLACES) >= set(PLACEMENTS)
