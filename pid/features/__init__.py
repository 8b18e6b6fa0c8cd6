"""From samples to columns that a Gaussian model can read.

gaussianize  standardization, PCA, rank-based Gaussian scores
"""

from pid.features.gaussianize import PCA as PCA
