"""Linear maps, LayerNorm and stacks of blocks, shared by vision tower, projector and language model.

The blocks of a model are one block whose parameters have a leading layer axis, or a list of blocks. A scan over a stack
compiles one layer. On a GPU it also copies the weights of each layer before their product, so a model that is loaded
there has a list, whose layers are compiled one by one.

Parameters are drawn from N(0, 0.02²), as Hugging Face does. Loading a checkpoint overwrites all of them.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
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


def has_axes(mesh: Any) -> bool:
    """Whether the mesh of a traced array has the axes "data" and "model", which XLA may place arrays over."""
    return set(mesh.axis_names) == {"data", "model"} and set(mesh.axis_types) == {AxisType.Auto}


def distinct(x: Array, count: int) -> list[Array]:
    """Return x as `count` values that XLA takes for different ones.

    XLA:GPU merges the products of one array with several small matrices into one, and to that end copies the matrices
    next to each other in every call.
    """
    copies = [x]
    while jax.default_backend() == "gpu" and len(copies) < count:
        copies.append(jax.lax.optimization_barrier(copies[-1]))
    return copies if len(copies) == count else count * copies


def stack(build: Callable[[nnx.Rngs], M], layers: int, rngs: nnx.Rngs) -> M:
    """Build `layers` modules as one: every parameter has a leading layer axis, to be scanned over."""
    return nnx.vmap(lambda key: build(nnx.Rngs(key)))(jax.random.split(rngs.params(), layers))


def _unstack(x: Any) -> list[Any]:
    """The layers of a stacked array, which is deleted; the shapes of the layers, given a shape."""
    place = x.sharding
    if isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, PartitionSpec(*place.spec[1:]))
    if isinstance(x, jax.ShapeDtypeStruct):
        return [jax.ShapeDtypeStruct(x.shape[1:], x.dtype, sharding=place)] * x.shape[0]
    layers = jax.block_until_ready(jax.jit(list, out_shardings=place)(x))
    x.delete()
    return layers


def separate(blocks: nnx.Module) -> Any:
    """Turn a stack of blocks into a list of blocks.

    The stacked arrays are deleted one after another, so that memory grows by one of them only.
    """
    graphdef, params = nnx.split(blocks)
    leaves, tree = jax.tree.flatten(params)
    return nnx.List(
        nnx.merge(graphdef, tree.unflatten(layer)) for layer in zip(*map(_unstack, leaves), strict=True)
    )


def run_layers(
    blocks: Any, layer: Callable[..., tuple[Any, Any]], carry: Any, *inputs: Any
) -> tuple[Any, Any]:
    """Run `carry, output = layer(block, carry, *input)` through all layers of a stack or a list of blocks.

    Inputs and outputs have a leading layer axis.
    """
    if isinstance(blocks, nnx.List):
        outputs = []
        for index, block in enumerate(blocks):
            carry, output = layer(block, carry, *jax.tree.map(lambda x: x[index], inputs))  # noqa: B023
            outputs.append(output)
        return carry, jax.tree.map(lambda *x: jnp.stack(x), *outputs)
    graphdef, params = nnx.split(blocks)

    def step(carry: Any, layers: tuple[Any, tuple]) -> tuple[Any, Any]:
        params, inputs = layers
        return layer(nnx.merge(graphdef, params), carry, *inputs)

    return jax.lax.scan(step, carry, (params, inputs))
