"""Which kernel serves a call, and programs lowered for accelerators: no kernel of a platform that is not there."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from pdeformer import Diffusion, dot_product_attention, pde_attention
from pdeformer.attention import explain
from pdeformer.attention.plain import kernel_choice
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import product_precision

TOKENS = 640
X = jax.ShapeDtypeStruct((1, TOKENS, 4, 64), jnp.bfloat16)


def like(**changes):
    return jax.ShapeDtypeStruct(**({"shape": X.shape, "dtype": X.dtype} | changes))


@pytest.mark.parametrize(("platform", "name"), [("tpu", "mosaic"), ("gpu", "triton"), ("cpu", "chunked")])
@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True, "segment_ids": True}, {"window": 5}, {"dropout": 0.1}]
)
def test_every_platform_has_its_kernel(platform, name, options):
    assert explain(X, X, platform=platform, **options).name == name
    grouped = like(shape=(1, TOKENS, 2, 64))
    assert explain(X, grouped, platform=platform).name == name


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ((like(shape=(1, TOKENS, 4, 60)),) * 2, {}, "head width"),
        ((like(shape=(1, TOKENS, 4, 512)),) * 2, {}, "head width"),
        ((like(dtype=jnp.float8_e4m3fn),) * 2, {}, "does not compute"),
        ((X, like(dtype=jnp.float32)), {}, "one dtype"),
    ],
)
@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_what_no_kernel_serves_is_computed_in_chunks(arrays, options, words, platform):
    kernel = explain(*arrays, platform=platform, **options)
    assert kernel.name == "chunked"
    assert words in str(kernel)


def test_float64_and_half_precision():
    with jax.enable_x64():
        wide = like(dtype=jnp.float64)
        assert explain(wide, wide, platform="gpu").name == "chunked"
    half = like(dtype=jnp.float16)
    assert explain(half, half, platform="tpu").name == "chunked"
    assert explain(half, half, platform="gpu").name == "triton"


def test_a_version_of_jax_that_cannot_lower_a_kernel_computes_in_chunks():
    with mock.patch.object(kernel_choice, "kernel_of", side_effect=ImportError("no such module")):
        kernel_choice.lowering_error.cache_clear()
        kernel = explain(X, X, platform="tpu")
    kernel_choice.lowering_error.cache_clear()
    assert kernel.name == "chunked"
    assert "no such module" in str(kernel)


def test_method_fused_without_a_kernel_is_refused():
    x = jnp.ones((1, 4, 1, 8))
    with pytest.raises(ValueError, match=r"no fused kernel serves this call.*runs on tpu, not cpu"):
        dot_product_attention(x, x, x, method="fused")


def lowered(function, platform, backend, dtype=jnp.bfloat16):
    with mock.patch.object(jax, "default_backend", return_value=backend):
        arrays = [like(dtype=dtype)] * 3
        program = jax.jit(lambda *qkv: jax.vjp(function, *qkv)[1](qkv[0])).trace(*arrays)
        return program.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ("platform", "backend", "call"), [("tpu", "tpu", "tpu_custom_call"), ("cuda", "gpu", "triton")]
)
def test_programs_for_accelerators_hold_the_kernel_and_no_square_of_the_tokens(platform, backend, call):
    for function in (
        lambda *qkv: dot_product_attention(*qkv, dropout=0.1, dropout_key=jax.random.key(0)),
        lambda q, k, v: pde_attention(q, k, v, Diffusion(0.1), steps=4, is_causal=True),
    ):
        text = lowered(function, platform, backend)
        assert text.count(call) >= 3
        assert f"{TOKENS}x{TOKENS}" not in text


def test_a_program_for_another_platform_than_the_backend_has_no_kernel():
    text = lowered(dot_product_attention, "cpu", "tpu")
    assert "custom_call" not in text


@pytest.mark.parametrize(
    ("name", "dtype", "precision", "exact"),
    [
        ("mosaic", jnp.float32, None, True),
        ("triton", jnp.float32, "highest", True),
        ("triton", jnp.float32, "default", False),
        ("mosaic", jnp.bfloat16, None, False),
    ],
)
def test_products_of_float32_in_a_kernel_have_all_digits_unless_asked(name, dtype, precision, exact):
    x = like(dtype=dtype)
    spec = KernelSpec(name, None, 0, 1.0, product_precision(precision, x))
    row = jax.ShapeDtypeStruct((1, 4, TOKENS), jnp.float32)
    kernel = kernel_choice.kernel_of(name)
    forward = str(jax.make_jaxpr(kernel.forward, static_argnums=0)(spec, x, x, x))
    backward = str(jax.make_jaxpr(kernel.backward, static_argnums=0)(spec, x, x, x, row, row, x))
    for program, least in ((forward, 2), (backward, 7)):
        products = program.count("dot_general[")
        assert products >= least
        assert program.count("HIGHEST") == (2 * products if exact else 0)


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
def test_kernels_compile_for_a_tpu_that_is_not_attached():
    """Temporary memory of 8 heads of 8192 tokens: forward a few megabytes, and nothing of the size of scores."""
    program = """
import os
os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1",
                  TPU_ACCELERATOR_TYPE="v5litepod-4", JAX_ENABLE_COMPILATION_CACHE="false")
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from pdeformer import Diffusion, dot_product_attention, pde_attention
topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:1x1", chips_per_host_bounds=(1, 1, 1))
jax.default_backend = lambda: "tpu"
where = SingleDeviceSharding(topology.devices[0])
x = jax.ShapeDtypeStruct((1, 8192, 8, 64), jnp.bfloat16, sharding=where)
for attend in (dot_product_attention,
               lambda *qkv: pde_attention(*qkv, Diffusion(0.1), steps=4),
               lambda *qkv: pde_attention(*qkv, Diffusion(0.1), steps=4, is_causal=True)):
    compiled = jax.jit(attend).trace(x, x, x).lower().compile()
    assert "tpu_custom_call" in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes <= 32e6
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
