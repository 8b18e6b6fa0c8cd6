"""No leakage: in every language model that the program makes, no logit depends on a later token."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import lm
from experiments.lm.config import EQUATIONS
from experiments.lm.long import LongConfig
from experiments.lm.long.long_config import VARIANTS
from experiments.lra.controls import CONTROLS
from pdeformer import cta
from pdeformer.diagnostics import token_sensitivity
from pdeformer.layers import StencilConfig
from pdeformer.model import PLACEMENTS, CausalLM
from tests.helpers.sampling import sample

TOKENS, WIDTH = 9, 8
PACKED = np.array([[2, 2, 2, 1, 1, 1, 1, 0, 0]])
STENCILS = (
    *(StencilConfig("heat", steps=2), StencilConfig("adaptive", width=5), StencilConfig("multiscale")),
    *(StencilConfig("canon"), StencilConfig("shift")),
)
NORMS, POSITIONS = ("pre", "post"), ("sinusoidal", "learned", "rotary", "alibi", "none")
NOT_CAUSAL = {"convolution"}
"""The control that the program refuses, because it has no causal form."""


def options():
    """Keyword arguments of `lm.Config` for one variant beside the baseline, and its name."""
    for equation, steps in itertools.product(EQUATIONS, (1, 4)):
        yield {"equations": (equation,), "pde_steps": (steps,)}
    for place, stencil in itertools.product(PLACEMENTS, STENCILS):
        yield {"equations": ("none",), "placement": (place,), "stencil": stencil}
    for control in sorted(CONTROLS.keys() - NOT_CAUSAL):
        yield {"equations": ("none",), "controls": (control,)}
    yield {"equations": ("none",), "windows": (2,)}


def configurations():
    """Configurations of the models of all variants, norms and positions that the program accepts."""
    fields: dict[str, Any]
    for fields, norm, positions in itertools.product(options(), NORMS, POSITIONS):
        model = lm.Network(layers=2, width=WIDTH, heads=2, ffn=8, norm=norm, positions=positions)
        try:
            config = lm.Config(**fields, model=model, lengths=(TOKENS,))
            name, components = list(config.variants().items())[1]
            config.network(components, TOKENS, TOKENS)
        except ValueError:
            continue  # such as evolved attention with ALiBi
        yield (
            f"{name}-{fields.get('stencil', model).__dict__.get('kind', '')}-{norm}-{positions}",
            config,
            components,
        )
    for variant in VARIANTS:
        config = LongConfig(variants=(variant,), lengths=(128,), window=2, features=8)
        small = dataclasses.replace(config.model, layers=2, width=WIDTH, heads=2, ffn=8)
        yield f"long-{variant}", dataclasses.replace(config, model=small), variant


CASES = list(configurations())


def with_random_parameters(model, seed=0):
    """Return the graph and parameters of a model, moved off their initial values, where layers may be the identity."""
    graphdef, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(nnx.to_pure_dict(state))
    rng = np.random.default_rng(seed)
    moved = [leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
    return graphdef, jax.tree.unflatten(structure, moved)


def logits_of(graphdef, params, tokens, segment_ids=None):
    return nnx.merge(graphdef, params)(tokens, segment_ids)[0]


def check_causal(graphdef, params, segment_ids):
    """Token t has id t, so that row t of the embedding table is the embedding of token t."""
    tokens = np.arange(TOKENS)[None]

    def logits(table):
        return logits_of(
            graphdef,
            params | {"embed": params["embed"] | {"tokens": {"embedding": table}}},
            tokens,
            segment_ids,
        )

    sensitivity = token_sensitivity(jax.jit(logits), params["embed"]["tokens"]["embedding"])
    assert float(sensitivity.future) == 0  # exactly
    assert float(sensitivity.past) > 1e-3


def check_bitwise(graphdef, params, segment_ids):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, TOKENS, (1, TOKENS))
    logits = np.asarray(logits_of(graphdef, params, tokens, segment_ids))
    for t in range(TOKENS - 1):
        others = tokens.copy()
        others[:, t + 1 :] = (tokens[:, t + 1 :] + 1 + t) % TOKENS
        changed = np.asarray(logits_of(graphdef, params, others, segment_ids))
        np.testing.assert_array_equal(changed[: t + 1], logits[: t + 1])
        if segment_ids is None:
            assert not np.array_equal(changed[t + 1 :], logits[t + 1 :])


@pytest.mark.parametrize(
    ("name", "config", "variant"),
    sample(CASES, every=107),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_logit_depends_on_a_later_token(name, config, variant):
    model = (
        config.network(variant) if isinstance(config, LongConfig) else config.network(variant, TOKENS, TOKENS)
    )
    model = dataclasses.replace(model, vocabulary=TOKENS)
    graphdef, params = with_random_parameters(CausalLM(model, nnx.Rngs(0)))
    for segment_ids in (None, PACKED):
        check_causal(graphdef, params, segment_ids)
        check_bitwise(graphdef, params, segment_ids)


def test_the_cases_are_all_variants_that_are_not_refused():
    names = {name.split("-pre")[0].split("-post")[0] for name, _, _ in CASES}
    stencils = len(PLACEMENTS) * len(STENCILS)
    assert len(names) == 2 * len(EQUATIONS) + stencils + len(CONTROLS) - len(NOT_CAUSAL) + 1 + len(VARIANTS)
    assert len(CASES) > 400


@pytest.mark.parametrize("kind", [None, "diffusion", "wave", "reaction-diffusion", "advection-diffusion"])
def test_the_models_of_the_artifact_leak_unless_they_are_causal(kind):
    weights = cta.init_weights(
        jax.random.key(0), vocabulary=TOKENS, outputs=TOKENS, length=TOKENS, width=8, ffn=8, kind=kind
    )
    tokens = jnp.arange(TOKENS)[None]

    def sensitivity(causal):
        def logits(table):
            model = cta.OfficialLM(weights._replace(embedding=table), kind=kind, heads=2, causal=causal)
            return model(tokens)[0]

        return token_sensitivity(logits, weights.embedding)

    assert float(sensitivity(causal=True).future) == 0
    assert float(sensitivity(causal=False).future) > 1e-3


def test_a_sensitivity_that_is_not_finite_is_not_zero():
    assert np.isnan(token_sensitivity(lambda u: jnp.log(u - u), jnp.ones((3, 1))).future)
    with pytest.raises(ValueError, match="drop the batch axis"):
        token_sensitivity(lambda u: u[None], jnp.ones((3, 1)))
