"""A separable normalizing flow: one bijection per variable, trained so that pairs with the target become Gaussian.

config         FlowConfig, and the checks of the samples
spline         rational-quadratic splines, through quantiles of data or with free knots
bijection      the map of one variable: mixes, marginal splines, couplings; its inverse and Jacobian
ica            independent directions, one of two initial mixes
likelihood     likelihood of the pairs (target, x) and (target, y), with the Gaussian profiled out
model          all variables together
training       one training as one program, and the choice between flow and copula
cross_fitting  cross_fit: many layers, each row transformed by a flow that was trained without it
separable      SeparableFlow: fit, transform, inverse, log_prob

All names but FlowConfig load distrax and optax on first use.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from pid.flow.config import FlowConfig as FlowConfig
from pid.interface.deprecation import former_attribute
from pid.interface.extras import require_extra

if TYPE_CHECKING:
    from pid.flow.cross_fitting import CrossFit as CrossFit
    from pid.flow.cross_fitting import cross_fit as cross_fit
    from pid.flow.model import FlowLatents as FlowLatents
    from pid.flow.separable import FittedFlow as FittedFlow
    from pid.flow.separable import SeparableFlow as SeparableFlow
    from pid.flow.training import HeldOutScores as HeldOutScores

_MODULES = {
    "CrossFit": "cross_fitting",
    "FittedFlow": "separable",
    "FlowLatents": "model",
    "HeldOutScores": "training",
    "SeparableFlow": "separable",
    "cross_fit": "cross_fitting",
}
_FORMER_NAMES = {
    "CrossFitted": "CrossFit",
    "Fitted": "FittedFlow",
    "Gaussianized": "FlowLatents",
    "HeldOut": "HeldOutScores",
    "crossfit": "cross_fit",
}


def __getattr__(name: str) -> Any:
    """Load a name on first use, or resolve a former name with a DeprecationWarning."""
    if name not in _MODULES:
        return former_attribute(sys.modules[__name__], name, _FORMER_NAMES)
    require_extra("flow", f"{__name__}.{name}", "distrax")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
