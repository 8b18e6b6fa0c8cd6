"""The configuration of PDE attention: a command line, no arrays, and refusals with a remedy."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
import tyro
from flax import nnx

from pdeformer.layers import PDEAttention, PDEAttentionConfig
from pdeformer.model import CausalLM, Classifier, ModelConfig
from tests.pdeformer.attention.pde_layers import (
    FORMS,
    TINY,
    arrays,
)


def test_a_choice_is_a_command_line():
    words = (
        "--attention.kind reaction-diffusion --attention.beta 0.1 --attention.steps 2 --attention.no-learned"
    )
    config = tyro.cli(ModelConfig, args=words.split())
    assert config == ModelConfig(
        attention=PDEAttentionConfig("reaction-diffusion", beta=0.1, steps=2, learned=False)
    )


def test_no_kind_builds_no_layer():
    assert PDEAttentionConfig().build(4) is None
    layer = PDEAttentionConfig("wave", share="step").build(4)
    assert layer is not None
    assert layer.pde().coefficients()["speed"].shape == (4, 4)


def test_a_choice_makes_no_array(monkeypatch):
    """A program may make the configuration before the hosts of a pod have joined."""

    def refuse(*args, **options):
        raise AssertionError("an array was made")

    monkeypatch.setattr(jnp, "asarray", refuse)
    monkeypatch.setattr(jnp, "full", refuse)
    monkeypatch.setattr(jax.random, "key", refuse)
    for form in FORMS.values():
        PDEAttentionConfig(**form)


def choose(kind: Any = "diffusion", **options):
    return lambda: PDEAttentionConfig(kind, **options)


def model(shell: Any = Classifier, *, config=TINY, **options):
    return lambda: shell(replace(config, attention=PDEAttentionConfig(**options)), nnx.Rngs(0))


REACTION = "reaction-diffusion"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (choose("heat"), "kind must be one of none, diffusion, wave, .*got 'heat'"),
        (choose(share="heads"), "share must be one of head, layer, step, got 'heads'"),
        (choose(target="scores"), "target must be one of weights, logits, got 'scores'"),
        (choose("none", steps=2), "steps belongs to kind diffusion or .*got steps=2 with kind 'none'"),
        (choose(beta=0.1), "beta belongs to kind reaction-diffusion or advection-diffusion, got beta=0.1"),
        (choose("wave", alpha=0.1), "alpha belongs to kind diffusion"),
        (choose(speed=0.1), "speed belongs to kind wave"),
        (choose(order="euler"), "order belongs to kind reaction-diffusion"),
        (choose(alpha=0.5), "alpha < 1/2 to be non-expansive, got 0.5"),
        (choose(alpha=0.6, learned=False), "alpha <= 1/2 to be non-expansive, got 0.6"),
        (choose("wave", speed=1.0), "0 < speed < 1 to be stable, got 1.0"),
        (choose("wave", speed=1.1, learned=False), "speed <= 1 to be stable, got 1.1"),
        (choose("advection-diffusion", beta=0.8), r"\|beta\| < 0.8 to be stable with alpha=0.1"),
        (choose(REACTION, beta=2.5), r"\|beta\| < 2 to be stable with alpha=0.1 and 4 steps, got beta=2.5"),
        (choose(REACTION, beta=0.0), "keeps the sign of its initial beta, got beta=0"),
        (choose(REACTION, axis="query"), "acts on the distribution of one query, got axis='query'"),
        (choose(REACTION, target="logits"), "'fisher' reaction needs values >= 0"),
        (choose(REACTION, target="logits", reaction="allen_cahn", beta=-0.1), "logits leave .*beta=-0.1"),
        (choose(REACTION, target="logits", reaction="allen_cahn", order="euler"), "logits leave .*'euler'"),
        (choose(steps=-1), "steps must be a Python integer >= 0, got -1"),
        (choose(steps=0, share="step"), "got steps=0, learned=True; use share='head'"),
        (choose(share="step", learned=False), "got steps=4, learned=False; use share='head'"),
        (choose(base="performer"), "needs features >= 1"),
        (choose(features=8), "belong to base 'performer'"),
        (choose(feature_seed=1), "feature_seed belongs to base 'performer', got 1"),
        (choose(base="performer", features=8, window=2), "window is a band of the softmax"),
        (lambda: PDEAttention(2, kind="none"), "kind 'none' has no equation"),
        (model(CausalLM, kind="wave", target="logits"), "causal attention evolves only along the keys"),
        (model(CausalLM, kind="diffusion", axis="query"), "use target='weights', axis='key'"),
        (
            model(
                config=replace(TINY, attention_dropout=0.1), kind="diffusion", base="performer", features=8
            ),
            "dropout acts on softmax weights, got 0.1",
        ),
        (
            model(config=replace(TINY, attention_dropout=0.1), kind=REACTION, beta=-0.1),
            "attention dropout lifts weights above 1, .*got dropout=0.1, beta=-0.1",
        ),
        (
            lambda: PDEAttention(2, kind=REACTION, order="euler")(
                *arrays(), dropout=0.1, dropout_key=jax.random.key(0)
            ),
            "attention dropout lifts weights above 1, .*order='euler'",
        ),
        (lambda: PDEAttention(3)(*arrays()), r"one value per head, \(2,\)"),
    ],
)
def test_a_mistake_is_refused_with_rule_value_and_remedy(make, words, monkeypatch):
    # otherwise the run-time type checker of the tests would refuse a value outside a Literal first
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words):
        make()
