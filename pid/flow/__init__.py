"""A separable normalizing flow: one bijection per variable, trained to make pairs with the target Gaussian.

spline       rational-quadratic splines: fitted to quantiles, and free
bijection    one variable's map: mix, marginals, couplings; its inverse and Jacobian
start        independent directions, where the mix may start
likelihood   of the pairs (target, x) and (target, y), the Gaussian profiled out
model        all variables together
training     one training as one program
separable    SeparableFlow: configuration, fit, transform, log_prob
folds        cross_fit: many layers, each row by a flow that never saw it
"""

from pid.flow.cross_fitting import CrossFit as CrossFit
from pid.flow.cross_fitting import cross_fit as cross_fit
from pid.flow.separable import Fitted as Fitted
from pid.flow.separable import FlowLatents as FlowLatents
from pid.flow.separable import HeldOut as HeldOut
from pid.flow.separable import SeparableFlow as SeparableFlow
