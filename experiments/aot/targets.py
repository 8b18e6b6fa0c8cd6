"""Machines that need not be attached: chips, their number, and how the compilers name them."""

from importlib.util import find_spec
from typing import NamedTuple

from experiments.roofline import CHIPS, Chip


class Target(NamedTuple):
    """A machine, or one chip of it."""

    chip: str
    """Name in `experiments.roofline.CHIPS`."""
    count: int
    """Number of chips. Each is one device."""
    topology: str
    """Shape for the compiler: of the torus of a TPU, or slices x hosts x GPUs."""

    @property
    def limits(self) -> Chip:
        """Peak rates and memory of one chip."""
        return CHIPS[self.chip]

    @property
    def platform(self) -> str:
        """ "tpu" or "gpu", as `jax.default_backend()` answers on it."""
        return self.limits.platform


TARGETS = {
    "v5e-1": Target("v5e", 1, "v5e:1x1"),
    "v5e-8": Target("v5e", 8, "v5e:2x4"),
    "v5e-16": Target("v5e", 16, "v5e:4x4"),
    "v5e-256": Target("v5e", 256, "v5e:16x16"),
    "v5p-1": Target("v5p", 1, "v5p:1x1x1"),
    "v5p-128": Target("v5p", 64, "v5p:4x4x4"),  # a v5p is named by its cores, two a chip
    "v6e-1": Target("v6e", 1, "v6e:1x1"),
    "v6e-256": Target("v6e", 256, "v6e:16x16"),
    "h100-1": Target("H100", 1, "1x1x1"),
    "h100-8": Target("H100", 8, "1x1x8"),
}
"""The machines by name."""

WHEELS = {
    "tpu": ("libtpu", "pip install 'pdeformer[aot-tpu]'"),
    "gpu": ("jax_cuda12_plugin", "pip install 'pdeformer[aot-gpu]'"),
}
"""Platform -> (the module that compiles for it, the command that installs it)."""


def missing_wheel(platform: str) -> str | None:
    """Return the command that installs the compiler of a platform, None if it is installed."""
    module, command = WHEELS[platform]
    return None if find_spec(module) else command
