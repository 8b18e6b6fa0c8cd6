"""Training on a mesh: `Optimizer` and its schedules; `TrainState`, the compiled step and evaluation."""

from pdeformer.train.optimizer import Optimizer as Optimizer
from pdeformer.train.optimizer import decayed as decayed
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
