"""Which fused kernel serves a call, and why the others do not.

    kernel    runs on       module           written with
    mosaic    TPU           mosaic_kernel    Pallas
    triton    NVIDIA GPU    triton_kernel    Pallas, its Triton lowering
    chunked   any device    chunked          plain JAX, O(T) memory; also for all that no kernel serves

On a mesh every device runs the kernel on its own examples and key heads (`kernel_mesh`).

A case that is not known to be right is refused, and computed by the chunked form. So is one that this version of JAX
cannot lower: this is tried once for every shape, without a device.

    B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from pdeformer.attention.plain.kernel_interface import Kernel, KernelSpec
from pdeformer.attention.plain.kernel_mesh import can_split
from pdeformer.attention.types import Precision, check_shapes, product_precision
from pdeformer.integrators.meshes import mesh_of

MODULES = {
    "mosaic": "pdeformer.attention.plain.mosaic_kernel",
    "triton": "pdeformer.attention.plain.triton_kernel",
}
PLATFORMS = {"mosaic": ("tpu",), "triton": ("gpu", "cuda")}  # names of `jax.default_backend` and of devices
WIDEST = 256  # head width, up to which blocks fit the memory of a core


@dataclass(frozen=True)
class AttentionKernel:
    """The kernel that serves a call, and why the others do not.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pdeformer.attention import explain
        >>> x = jax.ShapeDtypeStruct((1, 4096, 8, 64), jnp.bfloat16)
        >>> explain(x, x, is_causal=True, platform="tpu").name
        'mosaic'
        >>> print(explain(x, x, platform="cpu"))
        chunked
          mosaic: runs on tpu, not cpu
          triton: runs on gpu, not cpu
    """

    name: str
    """"mosaic", "triton", or "chunked"."""
    refused: tuple[tuple[str, str], ...]
    """Name of every other kernel, and the reason why it does not serve the call."""

    def __str__(self) -> str:
        """Return the name, and one line for every refused kernel."""
        return "\n".join([self.name, *(f"  {name}: {reason}" for name, reason in self.refused)])


def explain(
    query: Any,
    key: Any,
    value: Any = None,
    *,
    segment_ids: Any = None,
    is_causal: bool = False,
    window: int | None = None,
    dropout: float = 0.0,
    precision: Precision | None = None,
    platform: str | None = None,
    key_segment_ids: Any = None,
) -> AttentionKernel:
    """Tell which kernel computes an attention, and why the others do not; nothing is computed.

    It serves `dot_product_attention` with method "auto", and the attention inside `pde_attention` with method "folded"
    for equations without a reaction: base "softmax", `renormalize` not "l1". A program of several TPU devices needs a
    mesh with axes of the names of `sharding.make_mesh`: the ambient one, or that of an array. A mesh with other axes is
    a reason; where none is known, as with `in_shardings` alone, the chunked form runs, which only the compiler notices.

    Args:
        query: Shape (B, T, N, H), an array or a `jax.ShapeDtypeStruct`.
        key: Shape (B, S, K, H).
        value: Shape (B, S, K, H); None means that of `key`.
        segment_ids: As in `dot_product_attention`; only whether there are any matters.
        is_causal: As in `dot_product_attention`.
        window: As in `dot_product_attention`.
        dropout: As in `dot_product_attention`.
        precision: As in `dot_product_attention`.
        platform: "tpu", "gpu" or "cpu"; None means the default backend.
        key_segment_ids: As in `dot_product_attention`; only whether there are any matters.

    Returns:
        The name of the kernel, and the reason why every other one is refused.

    Raises:
        ValueError: Shapes or options do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pdeformer.attention import explain
        >>> x = jax.ShapeDtypeStruct((8, 2048, 8, 60), jnp.bfloat16)
        >>> print(explain(x, x, platform="gpu"))
        chunked
          mosaic: runs on tpu, not gpu
          triton: needs a head width that is a multiple of 8 up to 256, got 60
    """
    value = key if value is None else value
    check_shapes(query, key, value, 0.0, None)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}; it is the chance to drop, not to keep.")
    low, high = band_bounds(query.shape[1], key.shape[1], is_causal=is_causal, window=window)
    segmented = segment_ids is not None or key_segment_ids is not None
    platform = jax.default_backend() if platform is None else platform
    return choose_kernel(
        query,
        key,
        value,
        low=low,
        high=high,
        segmented=segmented,
        dropout=dropout,
        precision=precision,
        platform=platform,
    )


def band_bounds(
    length: int, keys: int, *, is_causal: bool, window: int | None
) -> tuple[int | None, int | None]:
    """Return the smallest and the largest allowed s - t of `types.attention_mask`, as Python numbers."""
    shift = keys - length
    low = None if window is None else shift - int(window)
    return low, shift if is_causal else None if window is None else shift + int(window)


def select_kernel(
    query: Any, key: Any, value: Any, *, is_causal: bool, window: int | None, **case: Any
) -> KernelSpec | None:
    """Return the kernel of the default backend for a call, without its scale; None is the chunked form."""
    platform = jax.default_backend()
    low, high = band_bounds(query.shape[1], key.shape[1], is_causal=is_causal, window=window)
    kernel = choose_kernel(query, key, value, low=low, high=high, platform=platform, **case)
    if kernel.name == "chunked":
        return None
    precision = product_precision(case["precision"], query, key, value)
    return KernelSpec(kernel.name, low, high, 1.0, precision, dropout=float(case["dropout"]))


def choose_kernel(
    query: Any,
    key: Any,
    value: Any,
    *,
    low: int | None,
    high: int | None,
    segmented: bool,
    dropout: float,
    precision: Precision | None,
    platform: str,
) -> AttentionKernel:
    """Return the kernel for arrays, or for `jax.ShapeDtypeStruct`s, that pass `types.check_shapes`.

    `low` and `high` bound s - t.
    """
    precision = product_precision(precision, query, key, value)
    refused, name = [], "chunked"
    for kernel in MODULES:
        spec = KernelSpec(kernel, low, high, 1.0, precision, dropout=float(dropout))
        reason = _refusal(spec, query, key, value, segmented=segmented, platform=platform)
        if reason is None:
            name = kernel
        else:
            refused.append((kernel, reason))
    return AttentionKernel(name, tuple(refused))


def kernel_of(name: str) -> Kernel:
    """Return a kernel by its name; its module is loaded on first use."""
    return import_module(MODULES[name]).KERNEL


def _refusal(
    spec: KernelSpec, query: Any, key: Any, value: Any, *, segmented: bool, platform: str
) -> str | None:
    """Return why a kernel does not serve a call, or None if it does."""
    name = spec.name
    if platform not in PLATFORMS[name]:
        return f"runs on {PLATFORMS[name][0]}, not {platform}"
    if query.dtype != key.dtype or query.dtype != value.dtype:
        return f"needs one dtype, got {query.dtype}, {key.dtype} and {value.dtype}"
    if query.dtype not in (jnp.bfloat16, jnp.float32, *((jnp.float16,) if name == "triton" else ())):
        return f"does not compute in {query.dtype}"
    width = query.shape[-1]
    if value.shape[-1] != width:
        return f"needs values as wide as the keys, got {value.shape[-1]} and {width}"
    if width % 8 or width > WIDEST:
        return f"needs a head width that is a multiple of 8 up to {WIDEST}, got {width}"
    mesh = mesh_of(query, key, value)
    if name == "mosaic" and not can_split(mesh):
        return f"cannot be split over a mesh with the axes {', '.join(mesh.axis_names)}; name them data, seq and model"
    if AxisType.Auto in jax.sharding.get_abstract_mesh().axis_types and _is_varying(query, key, value):
        return "is inside a shard_map that checks over which axes an array varies, and leaves axes to the compiler"
    shapes = tuple((x.shape, str(x.dtype)) for x in (query, key, value))
    return lowering_error(spec, shapes, segmented=segmented)


def _is_varying(*arrays: Any) -> bool:
    """Return whether an array is of one device of a mesh, as a checked `shard_map` marks it."""
    for x in arrays:
        aval: Any = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
        manual = getattr(aval, "manual_axis_type", None)
        varying = getattr(manual, "varying", None) if manual is not None else getattr(aval, "vma", None)
        if varying:
            return True
    return False


@lru_cache(maxsize=1024)
def lowering_error(spec: KernelSpec, shapes: tuple, *, segmented: bool) -> str | None:
    """Return why this version of JAX cannot lower a kernel and its backward pass, or None if it can.

    It is lowered for one device, in a thread of its own, because the ambient mesh is one of the present thread.
    """
    with ThreadPoolExecutor(1) as thread:
        options = {"segmented": segmented, "x64": bool(jax.config.read("jax_enable_x64"))}
        return thread.submit(_lower, spec, shapes, **options).result()


def _lower(spec: KernelSpec, shapes: tuple, *, segmented: bool, x64: bool) -> str | None:
    try:
        kernel = kernel_of(spec.name)
        query, key, value = (jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes)
        marks = [jax.ShapeDtypeStruct(x.shape[:2], jnp.int32) for x in (query, key)] if segmented else []
        if spec.dropout > 0:
            shapes_of_bits = ((x.shape[0], x.shape[2], x.shape[1]) for x in (query, key))
            marks += [jax.ShapeDtypeStruct(shape, jnp.uint32) for shape in shapes_of_bits]
        batch, length, heads, _ = query.shape
        row = jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)
        with jax.enable_x64(x64):
            for function, arrays in (
                (kernel.forward, (query, key, value, *marks)),
                (kernel.backward, (query, key, value, *marks, row, row, query)),
            ):
                traced = jax.jit(function, static_argnums=0).trace(spec, *arrays)
                traced.lower(lowering_platforms=(kernel.platform,))
    except Exception as error:  # any error of a library means: not this kernel
        text = str(error).strip().split("\n")[0] or type(error).__name__
        return f"is not served by jax {jax.__version__}: {text}"
    return None
