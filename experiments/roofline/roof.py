"""The roofline: the least time that a chip allows, and the time that a compiled program is expected to take.

    least time     max(operations / peak rate, least bytes / bandwidth)
    expected time  max(operations / peak rate, bytes moved / bandwidth, network, cycles of the compiler / clock)
    share          least time / expected time

Least bytes are every argument read once and every result written once. Nothing runs: these are estimates.
"""

from collections.abc import Mapping
from typing import NamedTuple

from experiments.roofline.chips import Chip


class Estimate(NamedTuple):
    """Seconds on one device."""

    compute: float
    """Matrix products at the peak rate."""
    memory: float
    """The bytes that the program moves, at the bandwidth of the memory."""
    network: float
    """The bytes of the collectives."""
    cycles: float
    """What the compiler expects outside of kernels; 0 if it does not say."""
    least: float
    """The roofline."""

    @property
    def expected(self) -> float:
        """The expected time."""
        return max(self.compute, self.memory, self.network, self.cycles)

    @property
    def bound_by(self) -> str:
        """What takes the expected time."""
        times = self._asdict()
        return max(("compute", "memory", "network", "cycles"), key=times.__getitem__)

    @property
    def share(self) -> float:
        """Share of the roofline."""
        return self.least / self.expected if self.expected else 1.0


def estimate(
    chip: Chip,
    *,
    flops: Mapping[str, float],
    moved: float,
    least_bytes: float,
    collective_bytes: Mapping[str, float],
    cycles: float,
) -> Estimate:
    """Return the times of a program on one device.

    Args:
        chip: the chip.
        flops: operations of one device by kind, see `matrix_flops`.
        moved: bytes between memory and chip.
        least_bytes: bytes of the arguments and results.
        collective_bytes: bytes by kind of collective. An all-reduce sends twice its bytes.
        cycles: cycles that the compiler expects.
    """
    compute = chip.seconds(dict(flops))
    sent = sum(bytes_ * (2 if kind == "all-reduce" else 1) for kind, bytes_ in collective_bytes.items())
    return Estimate(
        compute=compute,
        memory=moved / chip.bandwidth,
        network=sent / chip.network,
        cycles=cycles / chip.clock if chip.clock else 0.0,
        least=max(compute, least_bytes / chip.bandwidth),
    )
