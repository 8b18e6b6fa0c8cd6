"""Attention without evolution beside the chunked form: random features, and the fused kernels of accelerators.

performer         random features, in O(T) time
kernel_interface  what a fused kernel computes, and the blocks of a band that it needs
mosaic_kernel     the kernel of TPUs
triton_kernel     the kernel of GPUs
kernel_mesh       kernels under `vmap`, and on meshes that split examples or heads
kernel_choice     which kernel serves a call, and why the others do not
fused             attention by a kernel, with derivatives to any order
causal_diagonals  the last n weights of every causal row, for the fold around a kernel
"""
