from . import gqa as gqa
from . import llava as llava
from . import plots as plots
from . import toyworld as toyworld
from .estimators import Bootstrap as Bootstrap
from .estimators import Comparison as Comparison
from .estimators import Estimate as Estimate
from .estimators import EstimateConfig as EstimateConfig
from .estimators import Interval as Interval
from .estimators import ParametricBootstrap as ParametricBootstrap
from .estimators import Shuffle as Shuffle
from .estimators import Wishart as Wishart
from .estimators import WishartThinning as WishartThinning
from .estimators import aggregate as aggregate
from .estimators import compare as compare
from .estimators import estimate as estimate
from .estimators import layerwise as layerwise
from .estimators import load_estimate as load_estimate
from .estimators import paper_config as paper_config
from .estimators import recommended_config as recommended_config
from .estimators import save_estimate as save_estimate
from .estimators import trajectory_correlation as trajectory_correlation
from .features import PCA as PCA
from .features import embed as embed
from .flow import SeparableFlow as SeparableFlow
from .gaussian import MI as MI
from .gaussian import mutual_information as mutual_information
from .interface import Flag as Flag
from .measures import PID as PID
from .measures import Certificate as Certificate
from .measures import certificate as certificate
from .measures import decompose as decompose

__version__: str
__all__: list[str]
