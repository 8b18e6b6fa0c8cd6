"""A fused kernel inside the ring: its static bands equal the whole mask, and the results those of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, Wave, pde_attention, sharding
from pdeformer.attention.plain import kernel_choice, mosaic_kernel
from pdeformer.sharding.ring_blocks import ring_blocks
from tests.pdeformer.operators.fused import dense_kernel

B, T, N, K, H = 2, 32, 4, 2, 8
IDS = np.array([[1] * 19 + [2] * 11 + [0] * 2, [0] * 2 + [4] * 3 + [0] + [4] * 26], np.int32)
PACKED = {"segment_ids": IDS}
DROPOUT = {"dropout": 0.2, "dropout_key": jax.random.key(1)}
CASES = {  # equation, options, bands of the kernel on four shards of eight tokens
    "causal window, packed, dropout": (
        None,
        PACKED | DROPOUT | dict(is_causal=True, window=12),
        {(None, 0), (-4, None), (4, None)},
    ),
}
MORE_CASES = {
    "all": (None, {}, {(None, None)}),
    "causal": (None, dict(is_causal=True), {(None, 0), (None, None)}),
    "causal diffusion, dropout": (
        Diffusion(0.3),
        DROPOUT | dict(is_causal=True),
        {(None, -3), (None, 5), (None, None)},
    ),
    "causal diffusion, packed": (
        Diffusion(0.3),
        PACKED | dict(is_causal=True),
        {(None, -3), (None, 5), (None, None)},
    ),
    "wave per head, window": (
        Wave(np.array([0.3, 0.5, 0.9, 0.2])),
        PACKED | dict(window=2),
        {(-2, 2), (6, None), (None, -6)},
    ),
    "logits": (Diffusion(0.3), dict(target="logits", axis="both"), {(None, None)}),
}


@pytest.mark.parametrize(("low", "high"), [(None, None), (None, 0), (None, -3), (-3, 3), (-7, 1), (3, 9)])
def test_the_bands_of_the_shards_make_up_the_mask_of_the_sequence(low, high):
    size, length = 4, 5
    distance = np.arange(size * length)[None] - np.arange(size * length)[:, None]
    exact = np.ones(distance.shape, bool) if low is None else distance >= low
    exact &= True if high is None else distance <= high
    local, mask = distance[:length, :length], np.zeros_like(exact)
    for step in range(size):
        blocks = ring_blocks(low, high, length, size, (step,))
        for here in range(size):
            source = (here - step) % size
            band = blocks.bands[blocks.index[here - source + size - 1]]
            if band is not None:
                inside = np.ones(local.shape, bool) if band.low is None else local >= band.low
                inside &= True if band.high is None else local <= band.high
                assert inside.any()
                mask[here * length : (here + 1) * length, source * length : (source + 1) * length] = inside
    np.testing.assert_array_equal(mask, exact)
    everything = ring_blocks(low, high, length, size, range(size))
    assert len(everything.bands) == len(set(everything.bands)) <= 6


@pytest.mark.parametrize(
    "case",
    [*CASES.values(), *(pytest.param(c, marks=pytest.mark.exhaustive) for c in MORE_CASES.values())],
    ids=[*CASES, *MORE_CASES],
)
def test_a_ring_of_kernels_equals_one_device_with_its_gradients(case, monkeypatch):
    """Each device has half of the heads, and every shard a static band.

    With segments the kernel of TPUs is interpreted; without, the interpreter breaks the checks of `shard_map`.
    """
    pde, options, bands = case
    random = np.random.default_rng(5)
    shapes = (B, T, N, H), (B, T, K, H), (B, T, K, H)
    arrays = [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]
    pde = jax.tree.map(jnp.float32, pde)

    def run(attend, **keywords):
        def both(pde, *arrays):
            output, pull = jax.vjp(lambda *x: attend(*x[1:], x[0], **keywords), pde, *arrays)
            return output, pull(jnp.sin(output))

        return jax.jit(both)(pde, *arrays)

    exact = run(pde_attention, steps=3, method="materialized", **options)
    computed = {"forward": set(), "backward": set()}

    def recorded(name):
        def compute(spec, *arrays):
            computed[name].add((spec.low, spec.high))
            if "segment_ids" not in options:
                return getattr(dense_kernel, name)(spec, *arrays)
            return getattr(mosaic_kernel, name)(spec._replace(interpret=True), *arrays)

        return compute

    kernel = dense_kernel.KERNEL._replace(**{name: recorded(name) for name in computed})
    monkeypatch.setattr(mosaic_kernel, "LANES", 8)
    monkeypatch.setattr(dense_kernel, "KERNEL", kernel)
    monkeypatch.setitem(kernel_choice.MODULES, "dense", dense_kernel.__name__)
    monkeypatch.setitem(kernel_choice.PLATFORMS, "dense", ("cpu",))
    mesh = sharding.make_mesh(data=1, seq=4, model=2)
    output = run(sharding.pde_attention_sequence_parallel, mesh=mesh, steps=3, **options)
    for a, b in zip(jax.tree.leaves(output), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max() + 1))
    window = options.get("window")
    whole = None if window is None else -window, 0 if options.get("is_causal") else window
    for bounds in computed.values():  # the kernel is chosen by the band of the whole sequence
        assert bands | {whole} == bounds | {whole}
