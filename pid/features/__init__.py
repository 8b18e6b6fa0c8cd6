"""From samples to columns that a Gaussian model can read.

kinds        continuous, ordinal, categorical, count, mixed: detection, refusals, flags
gaussianize  standardization, PCA, rank-based Gaussian scores
"""

from pid.features.gaussianize import PCA as PCA
