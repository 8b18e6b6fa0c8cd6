"""Integrators of the four evolution equations: `evolve`, its definition and faster methods that are exact.

Files, each importing only those above it:

compilation      eager calls that compile once for each shape
meshes           loops on one CPU and on meshes, explicit axes, varying arrays
channel_blocks   computes a function of a state one block of channels at a time
explicit         a `lax.scan` of explicit steps: the definition, its adjoint and sensitivities
reflection       taps of a run of tokens by reflected index: segments, padding and short runs
convolution      one convolution with 2n+1 taps instead of n steps
spectral         one transfer function over cosine, sine or Fourier modes
causal           the causal forms
linear_map       a linear map with its own transpose as one JAX primitive
kernels          Pallas kernels for TPU and GPU
propagator       the linear propagator as one JAX primitive with its own derivative rules
api              `evolve`, its checks and the selection of a method
sequence_parallel  `evolve` with the sequence split over devices
"""

from pdeformer.integrators.api import evolve as evolve
from pdeformer.integrators.sequence_parallel import evolve_sequence_parallel as evolve_sequence_parallel

__all__ = ["evolve", "evolve_sequence_parallel"]
