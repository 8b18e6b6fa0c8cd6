"""From samples to columns that a Gaussian model can read.

gaussianize      standardization, PCA, rank-based Gaussian scores
resampling       blocks, circular shifts, groups; lagged columns
autocorrelation  inflation of moments by dependent samples, effective sample size
"""

from pid.features.gaussianize import PCA as PCA
from pid.features.resampling import embed as embed
