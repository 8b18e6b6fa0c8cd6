"""`evolve` with the sequence split over devices equals one device, with one exchange of rows for all steps."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import Diffusion, evolve, sharding
from pdeformer.stencil import halo
from tests.helpers.evolve_cases import BOUNDARIES, CAUSAL, PDES, WALLS, D

RNG = np.random.default_rng(3)
U = RNG.uniform(0.05, 0.95, (4, 32, D)).astype(np.float32)
PACKED = np.sort(RNG.integers(0, 6, (4, 32)), axis=1).astype(np.int32) + 70_000
PACKED[:, 11:13] = PACKED[:2, :3] = PACKED[2:, -9:] = 0  # holes, and padding on either side
SEGMENTS = {"one segment": None, "packed rows": PACKED, "ids of all rows": PACKED[:1]}
CASES = [(p, b, "one segment") for p in PDES for b in BOUNDARIES]
CASES += [(p, "causal", s) for p in CAUSAL for s in ("one segment", "packed rows")]
CASES += [(p, b, s) for p in PDES for b in WALLS for s in list(SEGMENTS)[1:]]
SAMPLE = [
    *(("diffusion", boundary, "one segment") for boundary in BOUNDARIES),
    *(("advection", "dirichlet", "one segment"), ("advection", "causal", "one segment")),
    *(("wave", "dirichlet", "packed rows"), ("fisher", "causal", "packed rows")),
]


def mesh(data=2, seq=4):
    return sharding.make_mesh(data=data, seq=seq)


def options(boundary, segments, **more) -> dict[str, Any]:
    causal = boundary == "causal"
    boundary = "neumann" if causal else boundary
    return {"boundary": boundary, "causal": causal, "segment_ids": SEGMENTS[segments], **more}


def value_and_gradients(function, **arguments):
    @jax.jit
    def run(u, pde):
        y, pullback = jax.vjp(partial(function, **arguments), u, pde)
        return y, pullback(jnp.sin(3 * y))

    return run


def close(a, b, bound):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=bound * max(1, np.abs(np.asarray(y)).max()))


def check(name, boundary, segments, *, steps, dtype=jnp.float64, bound=1e-12):
    """Compare the state after all steps, and its gradients by the first state and by the coefficients."""
    u, pde = jax.tree.map(lambda x: jnp.asarray(x, dtype), (U, PDES[name]))
    arguments = options(boundary, segments, steps=steps)
    parallel = partial(sharding.evolve_sequence_parallel, mesh=mesh())
    result = value_and_gradients(parallel, **arguments)(u, pde)
    close(result, value_and_gradients(evolve, **arguments)(u, pde), bound)


@pytest.mark.parametrize(("name", "boundary", "segments"), SAMPLE)
def test_a_split_sequence_equals_one_device_with_its_gradients(name, boundary, segments, x64):
    check(name, boundary, segments, steps=3)


def test_in_float32_it_equals_one_device_to_a_few_roundings():
    """The sums of the gradients by coefficients run over 384 numbers of either sign."""
    check("diffusion", "neumann", "one segment", steps=3, dtype=jnp.float32, bound=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "boundary", "segments"), CASES)
@pytest.mark.parametrize("steps", [1, 3, 7, 11])
def test_every_equation_wall_and_segment_equals_one_device(name, boundary, segments, steps, x64):
    """Shards have 8 rows: a halo of 11 or 14 rows reaches over a whole neighbor."""
    check(name, boundary, segments, steps=steps)


def test_a_halo_longer_than_a_shard_reaches_several_devices(x64):
    check("diffusion", "neumann", "one segment", steps=11)


def collectives(function, *arguments):
    text = jax.jit(function).lower(*arguments).compile().as_text() or ""
    words = re.findall(r"= \S+ (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(", text)
    return {word: words.count(word) for word in set(words)}


@pytest.mark.parametrize(
    ("name", "boundary", "segments", "count"),
    [
        ("diffusion", "neumann", "one segment", 2),
        ("advection", "causal", "packed rows", 1),
        pytest.param("wave", "periodic", "one segment", 2, marks=pytest.mark.exhaustive),
        pytest.param("allen-cahn", "dirichlet", "packed rows", 2, marks=pytest.mark.exhaustive),
    ],
)
def test_a_call_has_one_exchange_and_its_gradient_one_more(name, boundary, segments, count):
    """The program has exactly two collective-permutes, one if causal, and no other collective."""
    arguments = options(boundary, segments, steps=3)
    place = jax.NamedSharding(mesh(), jax.P("data", "seq"))
    u = jax.ShapeDtypeStruct(U.shape, jnp.float32, sharding=place)
    run = partial(sharding.evolve_sequence_parallel, pde=PDES[name], mesh=mesh(), **arguments)
    assert collectives(run, u) == {"collective-permute": count}
    forward = 0 if segments == "one segment" else count  # the ids of the halo
    backward = collectives(lambda u, y: jax.vjp(run, u)[1](y), u, u)
    assert backward == {"collective-permute": count + forward}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn])
def test_ids_of_a_halo_travel_exactly_in_short_floats(dtype):
    """Ids that differ in one bit of any byte remain different."""
    ids = np.array([[1, 257, 2**16, 2**24 + 1, 2**31 - 1, 2**31 - 2, 0, 7]], np.int32)
    u = jnp.ones((1, 8, 1), dtype)

    def run(u, ids):
        return halo.exchange_segments(u, ids, 2, 1)[1]

    specs = jax.P(None, "seq", None), jax.P(None, "seq")
    mapped = jax.shard_map(run, mesh=mesh(1, 4), in_specs=specs, out_specs=jax.P(None, "seq"))
    padded = np.pad(ids[0], (2, 1))
    assert jax.jit(mapped)(u, ids)[0].tolist() == [x for i in (0, 2, 4, 6) for x in padded[i : i + 5]]


def test_a_state_without_batch_of_any_axis_and_dtype_is_served():
    u = jnp.asarray(U[0].T, jnp.bfloat16)  # channels first
    arguments: dict[str, Any] = {"steps": 2, "axis": -1}
    y = sharding.evolve_sequence_parallel(u, PDES["wave"], mesh=mesh(1, 8), **arguments)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y.astype(float), evolve(u, PDES["wave"], **arguments).astype(float))


def test_padding_is_never_read_and_never_changed():
    ids = SEGMENTS["packed rows"]
    u = np.where(ids[..., None] > 0, U, np.nan)
    y = sharding.evolve_sequence_parallel(u, PDES["diffusion"], steps=3, segment_ids=ids, mesh=mesh())
    assert np.isnan(np.asarray(y)).any(-1).tolist() == (ids == 0).tolist()


@pytest.mark.parametrize(
    ("shape", "arguments", "words"),
    [
        (
            (4, 30, D),
            {},
            "must divide the tokens, got T=30 and seq=4; pad the sequence with tokens of segment id 0",
        ),
        ((4, 32, D), {"boundary": "wall"}, "boundary must be one of"),
        ((4, 32, D), {"causal": True, "boundary": "copy"}, "for boundary 'neumann' only"),
    ],
)
def test_what_cannot_be_split_is_refused(shape, arguments, words):
    with pytest.raises(ValueError, match=words):
        sharding.evolve_sequence_parallel(
            np.ones(shape), PDES["diffusion"], steps=2, mesh=mesh(), **arguments
        )


def test_a_mesh_without_the_axis_is_refused():
    other = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(ValueError, match=re.escape("the mesh axis 'seq', got a mesh of ('data',)")):
        sharding.evolve_sequence_parallel(U, PDES["diffusion"], steps=2, mesh=other)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_a_shard_is_served_by_the_kernel_of_its_platform(platform, monkeypatch):
    """Inside `shard_map` with its check, with segments or without."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    for ids in (None, jnp.ones((2, 2048), jnp.int32)):
        arguments: dict[str, Any] = {"steps": 3, "segment_ids": ids, "mesh": mesh()}
        run = partial(sharding.evolve_sequence_parallel, pde=Diffusion(0.2), **arguments)
        assert "pallas_call" in str(jax.make_jaxpr(run)(jnp.zeros((2, 2048, 128))))
