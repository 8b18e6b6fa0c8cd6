"""Partial information decomposition: what two sources tell about a target, alone, in common, and only together.

gaussian     covariances: sampling, mutual information in bits, bias
measures     covariance → PID: BROJA in closed form, MMI; certificate
gaussianize  standardise, PCA, rank-Gaussian
flow         separable normalizing flow
estimators   samples → PID with bias correction, intervals, null; layer by layer; paired comparison
plots        the pictures of a decomposition
gqa          GQA: TFDS builder, the six tasks of Zhang et al.; import it as `from pid import gqa`
llava        LLaVA-1.5 and LLaVA-1.6, every layer in sight, attention knockouts
toyworld     a small generated world in the shape of GQA; import it as `from pid import toyworld`
"""

from pid import llava as llava
from pid.estimators import Bootstrap as Bootstrap
from pid.estimators import Comparison as Comparison
from pid.estimators import Estimate as Estimate
from pid.estimators import EstimateConfig as EstimateConfig
from pid.estimators import Interval as Interval
from pid.estimators import Shuffle as Shuffle
from pid.estimators import aggregate as aggregate
from pid.estimators import compare as compare
from pid.estimators import estimate as estimate
from pid.estimators import layerwise as layerwise
from pid.estimators import load_estimate as load_estimate
from pid.estimators import paper_config as paper_config
from pid.estimators import recommended_config as recommended_config
from pid.estimators import save_estimate as save_estimate
from pid.estimators import trajectory_correlation as trajectory_correlation
from pid.flow import SeparableFlow as SeparableFlow
from pid.gaussian import MI as MI
from pid.gaussian import mutual_information as mutual_information
from pid.gaussianize import PCA as PCA
from pid.measures import PID as PID
from pid.measures import Certificate as Certificate
from pid.measures import certificate as certificate
from pid.measures import decompose as decompose

__all__ = [
    "MI",
    "PCA",
    "PID",
    "Bootstrap",
    "Certificate",
    "Comparison",
    "Estimate",
    "EstimateConfig",
    "Interval",
    "SeparableFlow",
    "Shuffle",
    "aggregate",
    "certificate",
    "compare",
    "decompose",
    "estimate",
    "layerwise",
    "llava",
    "load_estimate",
    "mutual_information",
    "paper_config",
    "recommended_config",
    "save_estimate",
    "trajectory_correlation",
]
