"""Tests of the fused attention kernels, and of the attention around them."""
