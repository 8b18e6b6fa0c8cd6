"""What a fused attention kernel computes, and which blocks of a band of keys it needs.

    forward    out[t] = Σ_s p[t, s] v[s],  p = exp(scale · q·k − lse),  lse[t] = log Σ_s exp(scale · q·k)
    backward   ds = p (dO Vᵀ − δ),  dQ = scale · ds K,  dK = scale · dsᵀ Q,  dV = pᵀ dO

over the keys s with t + low <= s <= t + high and the segment of the query. δ = dO·O − dlse: the backward pass needs no
output, and serves a cotangent of the log-sum-exp, by which attentions over disjoint sets of keys are joined. lse may
be that of more keys than those of the kernel; p is then the part of a larger attention. With dropout r, p of the last
factor of `out`, of dO Vᵀ and of dV is m p / (1 − r), where `dropout.keep_mask` decides m ∈ {0, 1}; lse keeps all pairs.

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from pdeformer.attention.types import Precision

MASKED = -1e30
"""Score of a forbidden pair: finite, so that the difference of two of them is 0 and not NaN."""
EMPTY = -1e29
"""A largest score below this is that of a row without keys."""


class KernelSpec(NamedTuple):
    """The static description of one fused attention."""

    name: str
    """Name of the kernel."""
    low: int | None
    """Smallest allowed s - t; None means no bound."""
    high: int | None
    """Largest allowed s - t; None means no bound."""
    scale: float
    """Factor of the scores."""
    precision: Precision
    """Precision of products of float32."""
    interpret: bool = False
    """Run the kernel by JAX's interpreter, on any device."""
    dropout: float = 0.0
    """Probability of dropping a pair."""

    def product_precision(self, dtype: Any) -> lax.Precision:
        """Return the precision of products of `dtype` in the kernel: all digits, or one pass."""
        exact = self.precision != "default" and jnp.finfo(dtype).bits >= 32
        return lax.Precision.HIGHEST if exact else lax.Precision.DEFAULT

    def split_marks(self, marks: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the ids and the dropout bits among the marks of a `Kernel`; each are none, or two."""
        count = len(marks) - (2 if self.dropout > 0 else 0)
        return marks[:count], marks[count:]


class Kernel(NamedTuple):
    """A kernel: two functions of arrays, and the platform that runs it.

    forward   (spec, query (B, T, N, H), key (B, S, K, H), value (B, S, K, H), *marks) → output (B, T, N, H),
              lse (B, N, T)
    backward  (spec, query, key, value, *marks, lse, delta (B, N, T), d_output (B, T, N, H)) → d_query, d_key, d_value

    Marks are the ids of the queries (B, T) and of the keys (B, S), or none; then, with dropout, the bits of the queries
    (B, N, T) and of the keys (B, K, S). Output and gradients have the dtypes of value and of their arrays; lse and
    delta have float32. A row without keys has the output 0 and lse −∞.
    """

    forward: Callable[..., tuple[Array, Array]]
    backward: Callable[..., tuple[Array, Array, Array]]
    platform: str
    """Name of the platform for `jax.lax.platform_dependent`."""


class BandBlocks(NamedTuple):
    """The blocks of columns that a block of rows needs: column c of row r if r + low <= c <= r + high."""

    rows: int
    """Rows of a block."""
    columns: int
    """Columns of a block."""
    count: int
    """Number of blocks of columns."""
    low: int | None
    high: int | None

    def transposed(self, count: int) -> "BandBlocks":
        """Return the blocks of rows that a block of columns needs; `count` is the number of blocks of rows."""
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return BandBlocks(self.columns, self.rows, count, low, high)

    @property
    def width(self) -> int:
        """Largest number of blocks that a block of rows needs."""
        if self.low is None or self.high is None:
            return self.count
        return max(1, min(self.count, (self.rows - 1 + self.high - self.low) // self.columns + 2))

    def first(self, i: Any) -> Any:
        """Return the first of `width` blocks that hold all columns of the block of rows `i`."""
        return jnp.minimum(self.start(i), jnp.int32(self.count - self.width))

    def start(self, i: Any) -> Any:
        """Return the first block that has a column of the block of rows `i`, perhaps beyond the last block of all."""
        if self.low is None:
            return jnp.int32(0)
        return lax.div(jnp.maximum(i * self.rows + self.low, 0), jnp.int32(self.columns))

    def last(self, i: Any) -> Any:
        """Return the last block that has a column of the block of rows `i`; 0 if there is none."""
        if self.high is None:
            return jnp.int32(self.count - 1)
        end = i * self.rows + (self.rows - 1 + self.high)
        return lax.div(jnp.clip(end, 0, self.count * self.columns - 1), jnp.int32(self.columns))

    def any_pair(self, i: Any, j: Any) -> Any:
        """Return whether a pair of the blocks (i, j) is inside the band."""
        inside = j >= 0
        if self.low is not None:
            inside &= (j + 1) * self.columns - 1 >= i * self.rows + self.low
        if self.high is not None:
            inside &= j * self.columns <= (i + 1) * self.rows - 1 + self.high
        return inside

    def all_pairs(self, i: Any, j: Any, columns: int) -> Any:
        """Return whether all pairs of the blocks (i, j) are inside the band and below the number of columns."""
        inside = (j + 1) * self.columns <= columns
        if self.low is not None:
            inside &= j * self.columns >= (i + 1) * self.rows - 1 + self.low
        if self.high is not None:
            inside &= (j + 1) * self.columns - 1 <= i * self.rows + self.high
        return inside

    def mask(self, row: Array, column: Array, columns: int) -> Array:
        """Return whether the pairs are inside the band and below the number of columns."""
        inside = column < columns
        if self.low is not None:
            inside &= column >= row + self.low
        if self.high is not None:
            inside &= column <= row + self.high
        return inside


def even_block(length: int, largest: int, unit: int) -> int:
    """Return a block size of at most `largest`, a multiple of `unit`, whose last block is nearly full."""
    blocks = -(-length // largest)
    return -(-length // (blocks * unit)) * unit


def pad_tokens(x: Array, axis: int, block: int) -> Array:
    """Fill the tokens along an axis with zeros to whole blocks."""
    missing = -x.shape[axis] % block
    if missing == 0:
        return x
    return jnp.pad(x, [(0, missing if a == axis else 0) for a in range(x.ndim)])
