"""Linear maps, LayerNorm and stacks of blocks, shared by vision tower, projector and language model.

Parameters are drawn from N(0, 0.02²), as Hugging Face does. Loading a checkpoint overwrites all of them.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

M = TypeVar("M", bound=nnx.Module)


def normal(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any, **_: Any) -> Array:
    """Draw from N(0, 0.02²) along one axis, since XLA compiles random numbers of several axes far more slowly."""
    return 0.02 * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def precision_of(dtype: Any) -> jax.lax.Precision:
    """Return the precision of products of this dtype: float32 has all digits on every device, bfloat16 one pass."""
    return jax.lax.Precision.HIGHEST if jnp.finfo(dtype).bits >= 32 else jax.lax.Precision.DEFAULT


def linear(inputs: int, outputs: int, *, bias: bool, dtype: Any, rngs: nnx.Rngs) -> nnx.Linear:
    """Make the layer x ↦ xW + b, with parameters and results in `dtype`."""
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=bias,
        dtype=dtype,
        param_dtype=dtype,
        precision=precision_of(dtype),
        kernel_init=normal,
        rngs=rngs,
    )


def layer_norm(width: int, eps: float, *, dtype: Any, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm that computes the variance from centered values in float32."""
    return nnx.LayerNorm(
        width, epsilon=eps, dtype=dtype, param_dtype=dtype, use_fast_variance=False, rngs=rngs
    )


def stack(build: Callable[[nnx.Rngs], M], layers: int, rngs: nnx.Rngs) -> M:
    """Build `layers` modules as one: every parameter has a leading layer axis, to be scanned over."""
    return nnx.vmap(lambda key: build(nnx.Rngs(key)))(jax.random.split(rngs.params(), layers))
