"""States at the sites of a model, and measures there, against slow references."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.placement.sites.site_measures import (
    ALPHA,
    heat_step,
    measure_insertions,
    measure_states,
    to_rows,
)
from experiments.placement.sites.site_states import (
    EMBEDDING,
    NAMES,
    Site,
    last_states,
    record_states,
    sites_of,
)
from experiments.placement.switched_model import make_settings, switch_layers
from experiments.placement.variant_families import Variant
from pdeformer import diagnostics
from pdeformer.layers import StencilConfig
from pdeformer.model import CausalLM, Classifier
from tests.pdeformer.model.numpy_transformer import TINY, NumpyTransformer, randomized, tokens

IDS = jnp.asarray([[1] * 12, [1] * 9 + [0] * 3])
CONFIG = dataclasses.replace(TINY, placements=("after_attention",), stencil=StencilConfig("heat"))
PLACES = ("after_attention",)
SETTINGS = jax.tree.map(
    lambda x: jnp.asarray(x[0]), make_settings([Variant("heat", "after_attention", 0.3)], PLACES)
)


@pytest.fixture(scope="module")
def model():
    return randomized(Classifier(CONFIG, nnx.Rngs(0)))


@pytest.mark.parametrize("changes", [{}, {"norm": "post"}, {"pooling": "cls"}, {"positions": "rotary"}])
def test_the_last_states_are_those_of_the_model(changes):
    places = ("after_embedding", "before_norm")
    config = dataclasses.replace(TINY, placements=places, stencil=StencilConfig("adaptive"), **changes)
    model = randomized(Classifier(config, nnx.Rngs(0)))
    expected = np.asarray(model.hidden_states(tokens(), IDS))
    states = last_states(model, tokens(), IDS, lambda site, u: u)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    sites = list(record_states(model, tokens(), IDS))
    assert set(sites) == set(sites_of(2))
    assert model.after_embedding is not None
    if config.norm == "pre":
        assert sites == sites_of(2)


def test_states_at_the_sites_are_those_of_the_numpy_transformer():
    model = randomized(Classifier(TINY, nnx.Rngs(0)))
    reference: Any = NumpyTransformer(model)
    states = record_states(model, tokens(), jnp.ones((2, 12), int))
    u = reference.values["embed/tokens/embedding"][np.asarray(tokens())] + reference.code(12, 8)
    np.testing.assert_allclose(states[EMBEDDING], u, atol=1e-4)
    for block in (1, 2):
        own = {name: states[Site(block, name)] for name in NAMES}
        np.testing.assert_allclose(own["before_norm of attention"], u, atol=1e-4)
        inputs = reference.norm("blocks/norm_attention", u, block - 1)
        np.testing.assert_allclose(own["before_attention"], inputs, atol=1e-4)
        output = reference.attention(inputs, block - 1)
        np.testing.assert_allclose(own["after_attention"], output, atol=1e-4)
        u = u + output
        np.testing.assert_allclose(own["before_norm of ffn"], u, atol=1e-4)
        output = reference.ffn(reference.norm("blocks/norm_ffn", u, block - 1), block - 1)
        np.testing.assert_allclose(own["after_ffn"], output, atol=1e-4)
        u = u + output
        np.testing.assert_allclose(own["between_layers"], u, atol=1e-4)


def measures(model):
    graphdef, params = nnx.split(model)
    return measure_states(params, SETTINGS, tokens(), IDS, graphdef=graphdef, places=PLACES)


def test_measures_of_states_are_those_of_diagnostics_at_each_site(model):
    own = measures(model)
    copy = switch_layers(nnx.merge(*nnx.split(model)), PLACES, SETTINGS)
    states = record_states(copy, tokens(), IDS)
    roughness = [float(jnp.mean(diagnostics.roughness(states[site], IDS))) for site in sites_of(2)]
    np.testing.assert_allclose(own.roughness, roughness, rtol=1e-5)
    energy = [
        float(jnp.mean(diagnostics.dirichlet_energy(states[s], IDS) / jnp.asarray([12, 9])))
        for s in sites_of(2)
    ]
    np.testing.assert_allclose(own.energy, energy, rtol=1e-5)
    rows = to_rows(own, None, 2)
    assert [row["site"] for row in rows if "commutator" in row] == ["after_attention"] * 2
    assert [(row["block"], row["site"]) for row in rows] == [tuple(site) for site in sites_of(2)]


def test_the_frozen_commutator_is_that_of_the_matrix_of_weights(model):
    """‖M A V - A M V‖ with A and M as matrices, written out for one row without padding."""
    ids = jnp.ones((1, 12), int)
    graphdef, params = nnx.split(model)
    own = measure_states(params, SETTINGS, tokens(1), ids, graphdef=graphdef, places=PLACES)
    copy = switch_layers(nnx.merge(graphdef, params), PLACES, SETTINGS)
    u = np.asarray(record_states(copy, tokens(1), ids)[Site(1, "before_attention")], np.float64)[0]
    reference: Any = NumpyTransformer(Classifier(TINY, nnx.Rngs(0)))
    reference.values |= NumpyTransformer(model).values
    project = {
        n: reference.linear(f"blocks/attention/{n}", u, 0).reshape(12, 2, 4)
        for n in ("query", "key", "value")
    }
    scores = np.einsum("tnh,snh->nts", project["query"], project["key"]) / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    mix = np.asarray(heat_step(jnp.eye(12)[None], None)[0], np.float64)

    def attend(value):
        return reference.linear(
            "blocks/attention/out", np.einsum("nts,snh->tnh", weights, value).reshape(12, 8), 0
        )

    def values(u):
        return reference.linear("blocks/attention/value", u, 0).reshape(12, 2, 4)

    after = attend(values(u))
    expected = np.linalg.norm(mix @ after - attend(values(mix @ u))) / np.linalg.norm(after)
    assert float(own.frozen_commutator[0]) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(mix[0, :2], [1 - ALPHA, ALPHA])


def test_the_change_of_an_insertion_is_that_of_the_model_with_the_step_there(model):
    graphdef, params = nnx.split(model)
    own = measure_insertions(params, SETTINGS, tokens(), IDS, graphdef=graphdef, places=PLACES)
    copy = switch_layers(nnx.merge(graphdef, params), PLACES, SETTINGS)
    valid = np.asarray(IDS > 0)[..., None]
    for index in (0, 3, 7, 14):
        site = sites_of(2)[index]

        def insert(at, u, site=site):
            return heat_step(u, IDS) if at == site else u

        plain = np.asarray(last_states(copy, tokens(), IDS, lambda _, u: u)) * valid
        changed = np.asarray(last_states(copy, tokens(), IDS, insert)) * valid
        norms = [np.linalg.norm(x, axis=(1, 2)) for x in (changed - plain, plain)]
        assert float(own.change[index]) == pytest.approx(np.mean(norms[0] / norms[1]), rel=1e-3)
    assert np.all(np.asarray(own.share_of_bound) <= 1.05)  # up to the power iteration and the points between
    assert np.all(np.asarray(own.share_of_energy_bound) <= np.asarray(own.share_of_bound) + 1e-5)


def test_a_causal_model_has_the_same_sites():
    config = dataclasses.replace(CONFIG, stencil=StencilConfig("heat"))
    graphdef, params = nnx.split(randomized(CausalLM(config, nnx.Rngs(0))))
    own = measure_states(params, SETTINGS, tokens(), IDS, graphdef=graphdef, places=PLACES)
    assert np.isfinite(np.concatenate([np.ravel(x) for x in own])).all()
