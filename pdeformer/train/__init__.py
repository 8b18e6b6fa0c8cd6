"""Training on a mesh.

Files, each importing only those above it:

optimizer   `Optimizer`, its learning-rate schedules, and the parameters that weight decay acts on
step        `TrainState`, loss functions, the compiled training step, and evaluation
"""

import warnings
from typing import Any

from pdeformer.train.optimizer import Optimizer as Optimizer
from pdeformer.train.optimizer import decay_mask as decay_mask
from pdeformer.train.optimizer import make_optimizer as make_optimizer
from pdeformer.train.optimizer import schedule as schedule
from pdeformer.train.step import Evaluation as Evaluation
from pdeformer.train.step import LossFunction as LossFunction
from pdeformer.train.step import Metrics as Metrics
from pdeformer.train.step import Sums as Sums
from pdeformer.train.step import TrainState as TrainState
from pdeformer.train.step import classification_loss as classification_loss
from pdeformer.train.step import cross_entropy as cross_entropy
from pdeformer.train.step import init_state as init_state
from pdeformer.train.step import make_evaluate as make_evaluate
from pdeformer.train.step import make_init as make_init
from pdeformer.train.step import make_train_step as make_train_step
from pdeformer.train.step import make_update as make_update

__all__ = [
    "Evaluation",
    "LossFunction",
    "Metrics",
    "Optimizer",
    "Sums",
    "TrainState",
    "classification_loss",
    "cross_entropy",
    "decay_mask",
    "init_state",
    "make_evaluate",
    "make_init",
    "make_optimizer",
    "make_train_step",
    "make_update",
    "schedule",
]


def __getattr__(name: str) -> Any:
    """Resolve a deprecated name, with a warning."""
    if name in ("decayed", "weight_decay_mask"):
        warnings.warn(f"train.{name} is now train.decay_mask.", DeprecationWarning, stacklevel=2)
        return decay_mask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
