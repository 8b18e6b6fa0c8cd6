"""Twenty eager calls of one shape compile once: every public function and module, and its gradient."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pdeformer as pf
from pdeformer import attention, diagnostics, simulator

LOWERING = "/jax/core/compile/jaxpr_to_mlir_module_duration"
CALLS = 20
U = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (2, 6, 4)), jnp.float32)
QUERY = U.reshape(2, 6, 2, 2)
NEW = QUERY[:, :1]
IDS = jnp.asarray([[1, 1, 1, 2, 2, 0]] * 2)
TOKENS = jnp.ones((2, 6), jnp.int32)
PDES = {
    "Diffusion": pf.Diffusion(0.2),
    "Wave": pf.Wave(0.4),
    "AdvectionDiffusion": pf.AdvectionDiffusion(0.1, 0.2),
    "ReactionDiffusion": pf.ReactionDiffusion(0.1, 0.2),
}
CONFIG = pf.ModelConfig(
    vocabulary=8,
    max_len=8,
    width=8,
    heads=2,
    layers=2,
    ffn=8,
    placements=("after_embedding", "after_attention"),
)
KEY = jax.random.key(0)
CACHE = pf.init_cache(2, 8, 2, 2)
ATTENTION, HEAT = pf.PDEAttention(2), pf.HeatLayer(0.2, steps=2, learned=True)
LANGUAGE = pf.CausalLM(CONFIG, rngs=nnx.Rngs(0))
SIMULATION = simulator.SimulatorConfig(layers=2, width=4, heads=2, ffn=4)
WEIGHTS = simulator.init_weights(SIMULATION, KEY)


def evolved(pde, **options):
    return pf.pde_attention(QUERY, QUERY, QUERY, pde, steps=2, **options)


def gradient(function, x):
    return jax.grad(lambda x: jnp.sum(function(x)))(x)


def module(build, *arguments, **options):
    layer = build()
    return lambda: layer(*arguments, **options)


CASES = {
    **{f"evolve {name}": lambda pde=pde: pf.evolve(U, pde, steps=3) for name, pde in PDES.items()},
    **{
        f"evolve {name}, gradients": lambda pde=pde: (
            gradient(lambda u: pf.evolve(u, pde, steps=3), U),
            gradient(lambda pde: pf.evolve(U, pde, steps=3), pde),
        )
        for name, pde in PDES.items()
    },
    **{
        f"{name}.step": lambda pde=pde: pde.step((U, U) if isinstance(pde, pf.Wave) else U)
        for name, pde in PDES.items()
    },
    "evolve segments": lambda: pf.evolve(U, PDES["ReactionDiffusion"], steps=3, segment_ids=IDS),
    "evolve causal": lambda: pf.evolve(U, PDES["ReactionDiffusion"], steps=3, causal=True),
    "evolve spectral": lambda: pf.evolve(U, PDES["Wave"], steps=3, method="spectral"),
    "pde_attention": lambda: evolved(PDES["Diffusion"]),
    "pde_attention causal": lambda: evolved(PDES["AdvectionDiffusion"], is_causal=True),
    "pde_attention reaction": lambda: evolved(PDES["ReactionDiffusion"]),
    "pde_attention dropout": lambda: evolved(PDES["Wave"], dropout=0.1, dropout_key=KEY),
    "pde_attention performer": lambda: evolved(PDES["Wave"], base="performer", features=4, feature_key=KEY),
    "pde_attention gradient": lambda: gradient(
        lambda q: pf.pde_attention(q, QUERY, QUERY, PDES["ReactionDiffusion"], steps=2), QUERY
    ),
    "pde_attention_weights": lambda: pf.pde_attention_weights(QUERY, QUERY, PDES["Diffusion"], steps=2),
    "pde_attention_decode": lambda: pf.pde_attention_decode(NEW, NEW, NEW, CACHE, PDES["Diffusion"], steps=2),
    "dot_product_attention": lambda: attention.dot_product_attention(QUERY, QUERY, QUERY, is_causal=True),
    "dot_product_attention linear biases": lambda: attention.dot_product_attention(
        QUERY, QUERY, QUERY, window=2, slopes=jnp.ones(2)
    ),
    "dot_product_attention gradient": lambda: gradient(
        lambda q: attention.dot_product_attention(q, q, q, segment_ids=IDS), QUERY
    ),
    "cta.refine": lambda: pf.cta.refine(U, "wave", alpha=0.1, steps=2),
    "HeatLayer": module(lambda: pf.HeatLayer(0.2, steps=2, learned=True), U, IDS),
    "AdaptiveStencil": module(lambda: pf.AdaptiveStencil(4, rngs=nnx.Rngs(0)), U, causal=True),
    "MultiScaleStencil": module(lambda: pf.MultiScaleStencil(4), U, IDS),
    "layers.CanonLayer": module(lambda: pf.layers.CanonLayer(4), U, IDS),
    "layers.TokenShift": module(lambda: pf.layers.TokenShift(4, bidirectional=True), U, IDS),
    "layers.LinearRecurrence": module(lambda: pf.layers.LinearRecurrence(4, 3, rngs=nnx.Rngs(0)), U, IDS),
    "PDEAttention": module(lambda: pf.PDEAttention(2), QUERY, QUERY, QUERY),
    "PDEAttention.decode": lambda: ATTENTION.decode(NEW, NEW, NEW, CACHE),
    "PDEAttention gradient": lambda: gradient(lambda q: ATTENTION(q, q, q, causal=True), QUERY),
    "HeatLayer gradient": lambda: nnx.grad(lambda layer: jnp.sum(layer(U)))(HEAT),
    "CausalLM.decode": lambda: LANGUAGE.decode(TOKENS, LANGUAGE.init_cache(2)),
    "CausalLM.decode segments": lambda: LANGUAGE.decode(TOKENS, LANGUAGE.init_cache(2, segments=True), IDS),
    "plots.evolution": lambda: pf.plots.evolution(U[0], PDES["Wave"], steps=2),
    "Classifier": module(lambda: pf.Classifier(CONFIG, rngs=nnx.Rngs(0)), TOKENS),
    "Matcher": module(lambda: pf.Matcher(CONFIG, rngs=nnx.Rngs(0)), TOKENS, TOKENS),
    "CausalLM": module(lambda: pf.CausalLM(CONFIG, rngs=nnx.Rngs(0)), TOKENS),
    **{
        f"diagnostics.{name}": lambda name=name: getattr(diagnostics, name)(U, IDS)
        for name in ("dirichlet_energy", "roughness", "token_similarity", "effective_rank")
    },
    **{
        f"diagnostics.{name}": lambda name=name: getattr(diagnostics, name)(U, U, IDS)
        for name in ("cosine", "relative_change", "cka")
    },
    "diagnostics.attention_entropy": lambda: diagnostics.attention_entropy(QUERY, QUERY, is_causal=True),
    "simulator.simulate": lambda: simulator.simulate(U, WEIGHTS, SIMULATION, record=simulator.measure_state),
}
NO_COMPUTATION = {"AttentionCache", "LMCache", "init_cache", "step_budget", "PLACEMENTS"}
CONFIGS = {"ModelConfig", "PDEAttentionConfig", "StencilConfig"}
MODULES = {"attention", "diagnostics", "layers", "sharding", "simulator", "train"}


@pytest.fixture
def lowerings():
    """Return a list that gets one entry per program lowered."""
    events = []

    def listen(event, *_, **__):
        if event == LOWERING:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", CASES)
def test_twenty_eager_calls_compile_once(name, lowerings):
    for _ in range(2):  # the second call may meet other placements of its arguments
        CASES[name]()
    lowerings.clear()
    for _ in range(CALLS - 2):
        CASES[name]()
    assert not lowerings


def test_another_scale_does_not_compile_again(lowerings):
    for attend in (lambda s: evolved(PDES["Wave"], scale=s), plain_scaled):
        attend(0.1)
        lowerings.clear()
        for scale in (0.2, 0.3):
            attend(scale)
        assert not lowerings


def plain_scaled(scale):
    return attention.dot_product_attention(QUERY, QUERY, QUERY, scale=scale)


def test_every_public_name_is_among_the_cases():
    names = {name.replace(".", " ").replace(",", " ").split()[0] for name in CASES}
    assert set(pf.__all__) <= names | NO_COMPUTATION | CONFIGS | MODULES


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs the list of memory maps of Linux")
def test_eager_calls_keep_no_memory_maps():
    def count():
        return len(Path("/proc/self/maps").read_text().splitlines())

    def call():
        return evolved(PDES["Diffusion"], is_causal=True).block_until_ready()

    call()
    before = count()
    for _ in range(200):
        call()
    assert count() - before < 50
