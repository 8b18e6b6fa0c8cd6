"""Attention around a fused kernel: derivatives to any order, folds, maps and meshes, with the stand-in on CPU."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pdeformer import AdvectionDiffusion, Diffusion, Wave, dot_product_attention, pde_attention
from pdeformer.attention import explain
from pdeformer.attention.chunked import chunked_attention
from pdeformer.attention.dropout import draw_dropout_bits
from pdeformer.attention.plain.fused import fused_attention
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import AttentionMask

pytestmark = pytest.mark.usefixtures("dense_kernel_on_cpu")
IDS = jnp.asarray([[1] * 9 + [0] * 2 + [1] * 4 + [2] * 9, [3] * 20 + [0] * 4])


def arrays(*shapes, seed=0, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def close(x, exact, tolerance=3e-5):
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * float(np.abs(b).max() + 1))


QUERY, KEY, VALUE, WEIGHT = arrays((2, 24, 4, 8), (2, 24, 2, 8), (2, 24, 2, 8), (2, 24, 4, 8))


def loss_of(attend):
    def loss(query, key, value):
        output, lse = attend(query, key, value)  # (B, T, N, H), (B, T, N)
        finite = jnp.where(lse > -jnp.inf, lse, 0)
        return (jnp.sin(output) * WEIGHT).sum() + jnp.cos(finite).sum()

    return loss


SPEC = KernelSpec("dense", None, -2, 0.3, "highest", dropout=0.25)
BITS = draw_dropout_bits(jax.random.key(7), QUERY, KEY)
FUSED = loss_of(lambda q, k, v: fused_attention(SPEC, q, k, v, IDS, IDS, BITS))
MASK = AttentionMask(None, jnp.int32(-2), IDS, IDS)
CHUNKED = loss_of(
    lambda q, k, v: chunked_attention(q, k, v, MASK, scale=0.3, dropout=0.25, dropout_bits=BITS)
)


def mixed(loss):
    return jax.grad(lambda *qkv: jnp.sin(jax.grad(loss, 1)(*qkv)).sum(), (0, 1, 2))


@pytest.mark.parametrize(
    "derivative",
    [
        lambda loss: lambda *qkv: loss(*qkv),
        lambda loss: jax.grad(loss, (0, 1, 2)),
        lambda loss: lambda *qkv: jax.jvp(loss, qkv, (WEIGHT, VALUE, KEY)),
        mixed,
        lambda loss: (
            lambda q, k, v: jax.vmap(jax.grad(loss, (0, 1, 2)), (0, None, 0))(
                jnp.stack([q, -q]), k, jnp.stack([v, 2 * v])
            )
        ),
    ],
    ids=["value", "gradient", "forward mode", "gradient of a gradient", "vmap"],
)
def test_derivatives_of_output_and_log_sum_exp_equal_those_of_chunks(derivative):
    close(jax.jit(derivative(FUSED))(QUERY, KEY, VALUE), jax.jit(derivative(CHUNKED))(QUERY, KEY, VALUE))


FOLDS = {
    "causal, packed, per head": (
        Diffusion(jnp.array([0.1, 0.2, 0.3, 0.05])),
        dict(is_causal=True, segment_ids=IDS, key_segment_ids=IDS.at[:, 4:6].set(0)),
    ),
    "causal wave, window": (Wave(0.4), dict(is_causal=True, window=4)),
    "both axes": (Diffusion(0.2), dict(axis="both")),
    "causal, dropout": (
        Diffusion(0.2),
        dict(is_causal=True, segment_ids=IDS, dropout=0.3, dropout_key=jax.random.key(3)),
    ),
}
MORE_FOLDS = {
    "causal drift": (AdvectionDiffusion(0.1, -0.2), dict(is_causal=True)),
    "causal drift, packed window": (
        AdvectionDiffusion(0.1, 0.2),
        dict(is_causal=True, window=5, segment_ids=IDS),
    ),
    "causal, many steps": (Diffusion(0.2), dict(is_causal=True, steps=9)),
    "logits": (Diffusion(0.2), dict(target="logits", segment_ids=IDS)),
    "window": (Wave(0.3), dict(window=3, segment_ids=IDS)),
    "dropout": (Wave(0.3), dict(dropout=0.2, dropout_key=jax.random.key(4))),
    "traced scale": (Diffusion(0.2), dict(is_causal=True, scale=jnp.float32(0.7))),
}


def check_fold(pde, options):
    options = {"steps": 3} | options

    def gradients(method):
        def loss(query, key, value, pde):
            output = pde_attention(query, key, value, pde, method=method, **options)
            return (output * WEIGHT).sum(), output

        return jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))(QUERY, KEY, VALUE, pde)

    close(gradients("folded"), gradients("materialized"))


@pytest.mark.parametrize("case", FOLDS)
def test_a_fold_around_a_kernel_equals_the_definition(case):
    check_fold(*FOLDS[case])


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", MORE_FOLDS)
def test_every_fold_around_a_kernel_equals_the_definition(case):
    check_fold(*MORE_FOLDS[case])


def test_shorter_floats_stay_short_and_numbers_in_padding_are_never_read():
    shapes = (2, 24, 4, 8), (2, 24, 2, 8), (2, 24, 2, 8)
    qkv = arrays(*shapes, dtype=jnp.bfloat16)
    with_nan = [jnp.where((IDS > 0)[..., None, None], x, jnp.nan) for x in qkv]
    options = dict(steps=3, is_causal=True, segment_ids=IDS)
    attend: Any = pde_attention
    output = attend(*with_nan, Diffusion(0.2), **options)
    exact = attend(*(x.astype(jnp.float32) for x in qkv), Diffusion(0.2), method="materialized", **options)
    assert output.dtype == jnp.bfloat16
    np.testing.assert_allclose(output.astype(jnp.float32), exact, atol=2e-2)


@pytest.mark.parametrize("names", [("data", "model"), ("data", "seq")])
def test_a_mesh_runs_the_kernel_on_its_own_examples_and_heads(names):
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), names)
    by_axis = PartitionSpec("data", *(("seq", None) if "seq" in names else (None, "model")))
    placed = [jax.device_put(x, NamedSharding(mesh, by_axis)) for x in (QUERY, KEY, VALUE)]

    def attend(*qkv):
        return dot_product_attention(*qkv, is_causal=True, dropout=0.2, dropout_key=jax.random.key(5))

    program = jax.jit(jax.grad(lambda *qkv: jnp.sin(attend(*qkv)).sum(), (0, 1, 2)))
    close(program(*placed), program(QUERY, KEY, VALUE))
    text = program.lower(*placed).compile().as_text()
    assert text
    assert "seq" in names or not any(x in text for x in ("all-gather", "all-to-all", "collective-permute"))


def test_explain_names_the_kernel_that_runs():
    assert explain(QUERY, KEY, VALUE).name == "dense"
    for options in ({}, {"dropout": 0.1, "dropout_key": jax.random.key(2)}):
        assert explain(QUERY, KEY, VALUE, dropout=options.get("dropout", 0.0)).name == "dense"
        fused, chunks = (
            dot_product_attention(QUERY, KEY, VALUE, method=method, **options)
            for method in ("fused", "chunked")
        )
        close(fused, chunks)
