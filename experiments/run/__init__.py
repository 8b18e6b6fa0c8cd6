"""What programs share: presets, run folder, hosts, checkpoints, progress, preemption, training loop, stages, tables."""

from experiments.run.checkpoints import Checkpoints as Checkpoints
from experiments.run.command_line import from_presets as from_presets
from experiments.run.folder import FREE as FREE
from experiments.run.folder import Run as Run
from experiments.run.folder import agreed as agreed
from experiments.run.folder import next_folder as next_folder
from experiments.run.folder import open_run as open_run
from experiments.run.folder import versions as versions
from experiments.run.hosts import Hosts as Hosts
from experiments.run.hosts import is_first as is_first
from experiments.run.hosts import join as join
from experiments.run.hosts import together as together
from experiments.run.loop import Cadence as Cadence
from experiments.run.loop import Result as Result
from experiments.run.loop import train as train
from experiments.run.preemption import Preempted as Preempted
from experiments.run.programs import programs as programs
