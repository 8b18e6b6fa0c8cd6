"""Diffusion for TPU: n steps in one kernel that reads the state once and writes it once.

    form           coefficient     serves                          one step of the grid
    matrix         one             all                             the operator of 128 tokens on the matrix unit
    filter         per channel     one run, causal                 taps, symmetric pairs added first
    steps          per channel     segments, causal on segments    n masked steps in fast memory

Rows of 512 tokens pass through fast memory, each with a halo of 16 tokens on both sides. Every form has a backward
kernel, which of the cotangent ȳ and the state u makes ū = Mᵀ ȳ and the terms of ᾱ = Σ u (∂M/∂α)ᵀ ȳ. The arithmetic is
that of float32.

Files, each importing only those above it:

halo_blocks         a state in blocks with halos
edge_codes          the edges of tokens: one integer per token, and its bits along the tokens of a block
operator_diagonals  the operator of n steps as its diagonals, and as a matrix
banded_matrix       the matrix form
channel_filter      the filter form
masked_steps        the steps form
"""
