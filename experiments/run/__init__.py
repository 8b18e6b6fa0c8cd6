"""What programs share: presets, run folder, hosts, checkpoints, progress, preemption, training loop, stages, tables."""

from experiments.run.checkpoints import Checkpoints as Checkpoints
from experiments.run.command_line import from_presets as from_presets
from experiments.run.compiled import programs as programs
from experiments.run.distributed import Hosts as Hosts
from experiments.run.distributed import barrier as barrier
from experiments.run.distributed import is_first as is_first
from experiments.run.distributed import join as join
from experiments.run.preemption import Preempted as Preempted
from experiments.run.run_folder import MAY_CHANGE_ON_RESUME as MAY_CHANGE_ON_RESUME
from experiments.run.run_folder import Run as Run
from experiments.run.run_folder import broadcast_from_first as broadcast_from_first
from experiments.run.run_folder import next_folder as next_folder
from experiments.run.run_folder import open_run as open_run
from experiments.run.run_folder import versions as versions
from experiments.run.train_loop import LoopIntervals as LoopIntervals
from experiments.run.train_loop import Result as Result
from experiments.run.train_loop import train as train
