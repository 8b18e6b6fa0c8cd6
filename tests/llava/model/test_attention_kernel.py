"""The attention kernel equals products of XLA under every mask, and serves only what it can."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid.llava.model import masked_attention as attention_file
from pid.llava.model.attention_kernel import BLOCKS, Blocks, Keys, flash_attention
from pid.llava.model.masked_attention import AttentionMask, KVCache, attention, kernel_platform, xla_attention
from pid.llava.tokens import TokenType

SHAPES = (  # samples, queries, earlier keys, heads, key heads, width, types of the mask
    (2, 20, 37, 4, 2, 16, 8),
    (1, 5, 0, 2, 2, 16, 8),
    (2, 33, 64, 4, 1, 8, 31),
)


def case(shape, *, dtype=jnp.float32, own_masks=True, seed=0):
    """Random queries, caches and a mask that removes half of all pairs of types; some types are beyond the mask."""
    samples, queries, earlier, heads, key_heads, width, size = shape
    rng, tokens = np.random.default_rng(seed), queries + earlier

    def draw(length, count):
        return jnp.asarray(rng.standard_normal((samples, length, count, width)), dtype)

    query, key, value = draw(queries, heads), draw(tokens, key_heads), draw(tokens, key_heads)
    types = jnp.asarray(rng.integers(0, size + 2, (samples, tokens)), jnp.int32)
    removed = jnp.asarray(rng.random((samples if own_masks else 1, size, size)) < 0.5)
    parts = [KVCache(key[:, earlier:], value[:, earlier:])]
    if earlier:
        parts.insert(0, KVCache(key[:, :earlier], value[:, :earlier]))
    return query, tuple(parts), AttentionMask(types[:, earlier:], types, removed)


def by_kernel(query, caches, mask, blocks):
    removed, bits = mask.bits()
    parts = jnp.split(bits, np.cumsum([cache.key.shape[1] for cache in caches])[:-1], axis=1)
    keys = tuple(Keys(cache.key, cache.value, part) for cache, part in zip(caches, parts, strict=True))
    return flash_attention(query, removed, keys, causal=True, blocks=blocks, interpret=True)


@pytest.mark.parametrize("heads_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_the_products_of_xla(shape, heads_first):
    args = case(shape, own_masks=shape[0] != 1)
    ours = by_kernel(*args, blocks=Blocks(16, 32, heads_first))
    np.testing.assert_allclose(ours, xla_attention(*args), atol=2e-6)


def test_a_query_without_keys_gets_zero():
    query, caches, mask = case(SHAPES[0])
    blind = mask._replace(knockout_mask=jnp.ones((1, 12, 12), bool))
    for ours in (
        xla_attention(query, caches, blind),
        by_kernel(query, caches, blind, Blocks(16, 16, heads_first=False)),
    ):
        np.testing.assert_array_equal(ours, np.zeros(query.shape))


def test_conditions_share_the_keys_of_a_prefix():
    query, (prefix, own), mask = case(SHAPES[0])
    queries, masks = jnp.stack([query, 2 * query]), jnp.stack([mask.knockout_mask, ~mask.knockout_mask])

    def run(attend, query, removed):
        return attend(query, (prefix, own), mask._replace(knockout_mask=removed))

    kernel = partial(by_kernel, blocks=Blocks(16, 16, heads_first=False))
    ours, theirs = (jax.vmap(partial(run, attend))(queries, masks) for attend in (kernel, xla_attention))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_two_types_share_a_bit_exactly_where_the_mask_removes_the_pair(seed):
    _, _, mask = case((2, 50, 0, 1, 1, 4, 31), seed=seed)
    removed, bits = mask.bits()
    shared = (np.asarray(removed)[:, :, None] & np.asarray(bits)[:, None]) != 0
    later = np.triu(np.ones((50, 50), bool), 1)
    np.testing.assert_array_equal(~(shared | later), mask.pairs())


def test_a_few_queries_at_a_time_give_the_same(monkeypatch):
    args = case(SHAPES[0])
    whole, unmasked = xla_attention(*args), xla_attention(*args[:2], None)
    monkeypatch.setattr(attention_file, "MAX_SCORES", 3000)
    np.testing.assert_allclose(xla_attention(*args), whole, atol=1e-6)
    np.testing.assert_allclose(xla_attention(*args[:2], None), unmasked, atol=1e-6)
    text = jax.jit(xla_attention).lower(*args).as_text()
    assert "tensor<2x2x20x2x57xf32>" not in text
    assert "tensor<2x2x6x2x57xf32>" in text


def test_without_a_mask_every_query_takes_every_key():
    query, caches, _ = case((2, 19, 0, 4, 4, 16, 8))
    theirs = jax.nn.dot_product_attention(query, *caches[0])
    np.testing.assert_allclose(xla_attention(query, caches, None), theirs, atol=1e-6)
    keys = (Keys(caches[0].key, caches[0].value, jnp.zeros((2, 19), jnp.int32)),)
    removed = jnp.full((2, 19), 1 << TokenType.PAD, jnp.int32)
    ours = flash_attention(
        query, removed, keys, causal=False, blocks=Blocks(16, 32, heads_first=True), interpret=True
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_kernel_serves_half_precision_on_its_own_platforms_only(monkeypatch):
    wide = (2, 20, 37, 4, 2, 64, 8)
    assert kernel_platform(*case(wide, dtype=jnp.bfloat16)) is None
    for platform in ("gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=platform: name)
        assert kernel_platform(*case(wide, dtype=jnp.bfloat16)) == platform
        assert kernel_platform(*case(wide, dtype=jnp.float32)) is None
        assert kernel_platform(*case((*wide[:5], 32, 8), dtype=jnp.bfloat16)) is None
        assert kernel_platform(*case((*wide[:6], 32), dtype=jnp.bfloat16)) is None
    assert kernel_platform(*case(wide, dtype=jnp.float16)) is None


def test_a_mesh_that_cannot_split_the_heads_takes_products(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    shape = (2, 20, 0, 8, 4, 64, 8)
    for axes, expected in (((2, 4), "gpu"), ((1, 8), None), ((8, 1), None)):
        mesh = jax.make_mesh(axes, ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
        replicated = jax.NamedSharding(mesh, jax.P())
        query, caches, mask = jax.device_put(case(shape, dtype=jnp.bfloat16), replicated)
        assert kernel_platform(query, caches, mask) == expected


def test_each_device_of_a_mesh_runs_the_kernel_on_its_samples_and_heads(monkeypatch):
    query, caches, mask = case((2, 20, 37, 8, 4, 16, 8))
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    placed = jax.device_put((query, caches, mask), jax.NamedSharding(mesh, jax.P()))
    monkeypatch.setattr(attention_file, "flash_attention", partial(flash_attention, interpret=True))
    run = jax.jit(partial(attention_file.kernel_on_mesh, Blocks(16, 32, heads_first=False)))
    ours = run(*placed)
    assert ours.sharding.shard_shape(ours.shape) == (1, 20, 2, 16)
    np.testing.assert_allclose(ours, xla_attention(query, caches, mask), atol=2e-6)


def test_elsewhere_values_and_gradients_are_those_of_products(monkeypatch):
    """A program for the CPU of a machine with a GPU takes products, and the kernel has their gradient."""
    query, caches, mask = case((2, 20, 37, 4, 2, 64, 8), dtype=jnp.bfloat16)

    def loss(attend, query, caches):
        return jnp.sum(attend(query, caches, mask).astype(jnp.float32) ** 2)

    theirs = jax.value_and_grad(partial(loss, xla_attention), argnums=(0, 1))(query, caches)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    ours = jax.value_and_grad(partial(loss, attention), argnums=(0, 1))(query, caches)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize(
    ("backend", "platform", "call"), [("gpu", "cuda", "triton"), ("tpu", "tpu", "tpu_custom_call")]
)
def test_a_program_for_an_accelerator_has_no_array_of_all_scores(monkeypatch, backend, platform, call):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    args = case((1, 640, 128, 4, 2, 128, 8), dtype=jnp.bfloat16)
    text = (
        jax.jit(lambda *args: attention(*args)).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    )
    assert call in text
    assert "640x768" not in text
    assert BLOCKS[backend].queries <= 128
