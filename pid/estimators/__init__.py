"""From samples to a decomposition, with bias correction, intervals and a null; layer by layer; and compared.

config       what can be chosen, and the two named configurations
results      what comes out
latents      samples → few Gaussian coordinates: checks, reduction, Gaussianization
shrinkage    for few samples
resampling   bootstrap draws and shuffles, on device
thinning     unique information without selection bias, on device
observation  covariances of all layers, their bias, the plug-in
correction   the bias of the plug-in, taken away
uncertainty  corrected values, their draws and intervals, and the null
doubts       the flags
estimation   `estimate` and `layerwise`, for users
comparison   paired differences, correlation of trajectories, aggregation over layers
"""

from pid.estimators.comparison import Comparison as Comparison
from pid.estimators.comparison import aggregate as aggregate
from pid.estimators.comparison import compare as compare
from pid.estimators.comparison import trajectory_correlation as trajectory_correlation
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
from pid.estimators.results import Interval as Interval
