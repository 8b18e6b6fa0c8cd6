"""Kernels of the n-step diffusion for accelerators, each of which reads the state once and writes it once.

Files, each importing only those above it:

operator_steps    what a kernel applies
pallas_tpu        for TPU: a matrix for one diffusivity; a filter or masked steps for one per channel
pallas_gpu        for NVIDIA GPUs: taps by reflected index, and the causal form
batch_partition   a kernel on a mesh: the compiler splits sequences and channels
kernel_selection  which kernel serves a call, one function for all, and its derivatives
"""

from pdeformer.integrators.kernels.kernel_selection import explain_refusal as explain_refusal
from pdeformer.integrators.kernels.kernel_selection import name_kernel as name_kernel
from pdeformer.integrators.kernels.kernel_selection import propagate as propagate
from pdeformer.integrators.kernels.kernel_selection import select_kernel as select_kernel

__all__ = ["explain_refusal", "name_kernel", "propagate", "select_kernel"]
