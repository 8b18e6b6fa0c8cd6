"""Tests of `pdeformer.attention` and of the layers that learn its coefficients."""
