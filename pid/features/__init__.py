"""From samples to columns that a Gaussian model can read.

feature_tables  any array or table to real numbers, names and kinds of columns
input_arrays    samples of target, x and y, with or without layers
gaussianize     standardization, PCA, rank-based Gaussian scores
"""

from pid.features.gaussianize import PCA as PCA
