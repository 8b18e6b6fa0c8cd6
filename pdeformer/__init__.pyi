from . import attention as attention
from . import cta as cta
from . import diagnostics as diagnostics
from . import layers as layers
from . import plots as plots
from . import sharding as sharding
from . import simulator as simulator
from . import train as train
from .attention import AttentionCache as AttentionCache
from .attention import dot_product_attention as dot_product_attention
from .attention import init_cache as init_cache
from .attention import pde_attention as pde_attention
from .attention import pde_attention_decode as pde_attention_decode
from .attention import pde_attention_weights as pde_attention_weights
from .attention import step_budget as step_budget
from .integrators import evolve as evolve
from .layers import AdaptiveStencil as AdaptiveStencil
from .layers import HeatLayer as HeatLayer
from .layers import MultiScaleStencil as MultiScaleStencil
from .layers import PDEAttention as PDEAttention
from .layers import PDEAttentionConfig as PDEAttentionConfig
from .layers import StencilConfig as StencilConfig
from .model import PLACEMENTS as PLACEMENTS
from .model import CausalLM as CausalLM
from .model import Classifier as Classifier
from .model import LMCache as LMCache
from .model import Matcher as Matcher
from .model import ModelConfig as ModelConfig
from .pde import AdvectionDiffusion as AdvectionDiffusion
from .pde import Diffusion as Diffusion
from .pde import ReactionDiffusion as ReactionDiffusion
from .pde import Wave as Wave

__version__: str
__all__: list[str]
