"""Estimation of a decomposition from samples, for one system or layer by layer: bias correction, intervals, null.

config             choices of an estimation, their defaults, and two named configurations
results            Estimate and its parts
gaussian_features  samples → few Gaussian coordinates: checks, reduction, Gaussianization
covariance_fit     covariances of all layers, and the exact bias of their information
effective_size     samples that depend on each other: effective number, bias, resampling
bootstrap          the plug-in, bootstrap draws and shuffles, on device
wishart_thinning   unique information without selection bias, on device
bias_correction    the methods of bias correction
intervals          intervals of the corrected values, and the null
checks             flags about what the estimate assumes
estimation         `estimate` and `layerwise`
comparison         paired differences, correlation of trajectories, aggregation over layers
io                 saved estimates, tables, grouped flags
"""

from pid.estimators.bias_correction import ParametricBootstrap as ParametricBootstrap
from pid.estimators.bias_correction import Uncorrected as Uncorrected
from pid.estimators.bias_correction import Wishart as Wishart
from pid.estimators.bias_correction import WishartThinning as WishartThinning
from pid.estimators.comparison import Comparison as Comparison
from pid.estimators.comparison import aggregate as aggregate
from pid.estimators.comparison import compare as compare
from pid.estimators.comparison import trajectory_correlation as trajectory_correlation
from pid.estimators.config import BiasCorrection as BiasCorrection
from pid.estimators.config import Bootstrap as Bootstrap
from pid.estimators.config import EstimateConfig as EstimateConfig
from pid.estimators.config import Shuffle as Shuffle
from pid.estimators.config import paper_config as paper_config
from pid.estimators.config import recommended_config as recommended_config
from pid.estimators.estimation import estimate as estimate
from pid.estimators.estimation import layerwise as layerwise
from pid.estimators.io import load_estimate as load_estimate
from pid.estimators.io import save_estimate as save_estimate
from pid.estimators.results import Estimate as Estimate
from pid.estimators.results import Resampling as Resampling
from pid.measures import Interval as Interval
