"""From samples to columns that a Gaussian model can read.

feature_tables       any array or table to real numbers, names and kinds of columns
input_arrays         samples of target, x and y, with or without layers
kinds                continuous, ordinal, categorical, count, mixed: detection, refusals, flags
gaussianize          standardization, PCA, rank-based Gaussian scores
normal_scores        the scores on the host, without compilation
regression           cross-fitted regression of the target on wide sources
elliptical           scores of Student's t and Tyler's scatter for heavy tails
reduction            few coordinates of target, x and y, and what they keep
reduced_information  what a reduction dropped although it is informative
tails                heavy tails, and how many samples they leave
resampling           blocks, circular shifts, groups; lagged columns
autocorrelation      inflation of moments by dependent samples, effective sample size
"""

from pid.features.gaussianize import PCA as PCA
from pid.features.regression import CrossFittedRegression as CrossFittedRegression
from pid.features.resampling import embed as embed
