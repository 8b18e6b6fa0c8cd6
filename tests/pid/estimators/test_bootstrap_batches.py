"""On accelerators all layers and draws are one batch, with the draws of the CPU."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid.estimators import bootstrap, wishart_thinning
from pid.gaussian import systems
from pid.measures.decomposition import make_measure

LAYERS, SAMPLES, DRAWS, DIMS = 3, 40, 70, (2, 2, 2)
KEY = jax.random.key(5)


def spec(measure="mmi"):
    return bootstrap.BootstrapSpec(make_measure(measure, DIMS, np.float64), two_targets=False, n=SAMPLES)


def inputs():
    features = np.random.default_rng(0).standard_normal((LAYERS, SAMPLES, sum(DIMS)))
    features[..., 2:4] += features[..., :2]
    covs = np.stack([np.cov(layer, rowvar=False) for layer in features])
    masks = np.ones(covs.shape[:2], bool)
    masks[1, -1] = False
    return features, covs, masks


def draws_of(kind):
    """Draws by a program that is traced anew."""
    features, covs, masks = inputs()
    counts = np.tile(DIMS, (LAYERS, 1))
    name, arguments = {
        "parametric": (bootstrap.parametric_values, (covs, masks, KEY, DRAWS)),
        "paired": (bootstrap.paired_values, (features, masks, KEY, DRAWS)),
        "shuffled": (bootstrap.shuffled_values, (features, covs, masks, KEY, DRAWS)),
        "half unique": (wishart_thinning.half_unique_draws, (covs, masks, counts, KEY, DRAWS)),
    }[kind]
    static = tuple(i for i, value in enumerate((spec(), *arguments)) if i == 0 or value is DRAWS)
    program = jax.jit(lambda *arguments: name.__wrapped__(*arguments), static_argnums=static)
    with systems.x64_context():
        return np.asarray(program(spec(), *arguments))


@pytest.mark.parametrize(
    "kind",
    [
        "paired",
        *(
            pytest.param(kind, marks=pytest.mark.exhaustive)
            for kind in ("parametric", "shuffled", "half unique")
        ),
    ],
)
def test_batches_have_the_draws_of_the_cpu(kind, monkeypatch):
    theirs = draws_of(kind)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(draws_of(kind), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.exhaustive
def test_a_batch_ends_where_memory_does(monkeypatch):
    theirs = draws_of("parametric")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(bootstrap, "MAX_ENTRIES", 2 * 35 * 36)  # two of three layers of a chunk
    np.testing.assert_allclose(draws_of("parametric"), theirs, rtol=1e-9, atol=1e-12)


def eigenvalue_batches(backend, monkeypatch):
    """How many matrices each eigenvalue problem of the program for a TPU has, and the number of its loops."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    _, covs, masks = inputs()
    shapes = [
        jax.ShapeDtypeStruct(x.shape, jnp.float32 if x.dtype == float else x.dtype) for x in (covs, masks)
    ]

    values: Any = bootstrap.parametric_values

    def program(covs, masks, key):
        return values.__wrapped__(spec("broja"), covs, masks, key, DRAWS)

    text = jax.jit(program).trace(*shapes, KEY).lower(lowering_platforms=("tpu",)).as_text()
    calls = re.findall(r"@Eigh\w*\(.*?tensor<([\dx]+)xf32>", text)
    return sorted(np.prod([int(n) for n in call.split("x")[:-2]]) for call in calls), text.count(
        "stablehlo.while"
    )


def test_layers_and_draws_are_one_batch_on_a_tpu(monkeypatch):
    batches, _ = eigenvalue_batches("tpu", monkeypatch)
    assert batches[-1] == LAYERS * DRAWS, batches
    single, _ = eigenvalue_batches("cpu", monkeypatch)
    assert single[-1] == DRAWS // 2, single
