"""Peak rates and memory of the accelerators, as their makers publish them, per chip.

TPU: cloud.google.com/tpu/docs, system architecture. H100: data sheet of the SXM5 module, without sparsity. The clock of
a TPU is the one at which its compiler's cycles are converted to time.
"""

from typing import NamedTuple

FLOAT32_PASSES = {"default": 1, "high": 3, "highest": 6}
"""Passes in bfloat16 that a TPU makes for a product of float32 at each precision."""


class Chip(NamedTuple):
    """One chip. Rates are per second."""

    platform: str
    """"tpu" or "gpu"."""
    flops: float
    """Operations of bfloat16 products."""
    float32_flops: float
    """Operations of float32 products at highest precision."""
    bandwidth: float
    """Bytes between the memory and the chip."""
    network: float
    """Bytes that the chip sends to its neighbors over all links."""
    memory: float
    """Bytes that a program may use."""
    clock: float = 0.0
    """Cycles of a TPU."""

    def seconds(self, flops: dict[str, float]) -> float:
        """Return the shortest time of these products by kind, see `matrix_flops`."""
        return sum(count / self.rate(kind) for kind, count in flops.items())

    def rate(self, kind: str) -> float:
        """Return the operations per second of one kind of product."""
        dtype, _, precision = kind.partition(" ")
        if dtype == "float32" and self.platform == "tpu":
            return self.flops / FLOAT32_PASSES[precision]
        if dtype == "float32":
            return self.float32_flops if precision == "highest" else self.flops / 2  # TF32
        return self.flops


GIB = 2**30
CHIPS = {
    "v5e": Chip("tpu", 197e12, 197e12 / 6, 819e9, 200e9, 15.75 * GIB, 1.5e9),
    "v5p": Chip("tpu", 459e12, 459e12 / 6, 2765e9, 600e9, 95 * GIB, 1.75e9),
    "v6e": Chip("tpu", 918e12, 918e12 / 6, 1640e9, 448e9, 31.25 * GIB, 1.75e9),
    "H100": Chip("gpu", 989e12, 67e12, 3.35e12, 450e9, 79.1 * GIB),
}
"""The chips by name."""
