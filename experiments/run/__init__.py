"""Code that all programs share, from the command line to the run folder, the training loop and the report.

Files in import order:

termination   signals, and the end of another process
distributed   several processes that work on one run
folder        the folder of a run, atomic writes, results as JSON
console       output whose failure does not end a run, and the width of a line
progress      bars, plain lines and the clock of a training
training      checkpoints, compiled programs and the loop around the training step
report        differences with their intervals, and tables
figures       style and colors of figures, and their PNG files
compilation_cache  compiled programs on disk
command_line  presets, options under old names, checks of seeds and of --resume
entry_point   the door of every program: a sentence and an exit code for errors of the user
studies       programs that measure: their interface, and studies of sections with claims
killtest      a program that kills another one at random moments and compares its results
"""

from experiments.run.command_line import CommandLine as CommandLine
from experiments.run.command_line import Idle as Idle
from experiments.run.command_line import check_folder as check_folder
from experiments.run.command_line import check_names as check_names
from experiments.run.command_line import check_out as check_out
from experiments.run.command_line import check_resume as check_resume
from experiments.run.command_line import check_seeds as check_seeds
from experiments.run.command_line import deprecated_names as deprecated_names
from experiments.run.command_line import idle_in_sections as idle_in_sections
from experiments.run.command_line import rename_options as rename_options
from experiments.run.console import open_console as open_console
from experiments.run.console import safe_output as safe_output
from experiments.run.distributed import Hosts as Hosts
from experiments.run.distributed import barrier as barrier
from experiments.run.distributed import broadcast_from_first as broadcast_from_first
from experiments.run.distributed import introduce_process as introduce_process
from experiments.run.distributed import is_first as is_first
from experiments.run.distributed import join_hosts as join_hosts
from experiments.run.entry_point import run_program as run_program
from experiments.run.folder.atomic_files import read_arrays as read_arrays
from experiments.run.folder.atomic_files import read_json as read_json
from experiments.run.folder.atomic_files import write_atomically as write_atomically
from experiments.run.folder.continuation import MAY_CHANGE_ON_RESUME as MAY_CHANGE_ON_RESUME
from experiments.run.folder.continuation import Continuation as Continuation
from experiments.run.folder.continuation import Extension as Extension
from experiments.run.folder.continuation import check_entries as check_entries
from experiments.run.folder.continuation import extend_fields as extend_fields
from experiments.run.folder.continuation import resume_command as resume_command
from experiments.run.folder.continuation import union as union
from experiments.run.folder.json_types import to_json as to_json
from experiments.run.folder.opening import next_folder as next_folder
from experiments.run.folder.opening import open_run as open_run
from experiments.run.folder.provenance import versions as versions
from experiments.run.folder.run_folder import Run as Run
from experiments.run.folder.run_folder import remedy_of_row as remedy_of_row
from experiments.run.studies.sections import Section as Section
from experiments.run.studies.sections import SectionStudy as SectionStudy
from experiments.run.studies.sections import extend_sections as extend_sections
from experiments.run.studies.study import Part as Part
from experiments.run.studies.study import Row as Row
from experiments.run.studies.study import Runner as Runner
from experiments.run.studies.study import Say as Say
from experiments.run.studies.study import Study as Study
from experiments.run.studies.study import run_study as run_study
from experiments.run.termination.preemption import Preempted as Preempted
from experiments.run.termination.preemption import end_process as end_process
from experiments.run.termination.preemption import stop_at_signals as stop_at_signals
from experiments.run.training.checkpoints import Checkpoints as Checkpoints
from experiments.run.training.compiled import make_programs as make_programs
from experiments.run.training.option_checks import check_batch as check_batch
from experiments.run.training.option_checks import warn_of_warmup as warn_of_warmup
from experiments.run.training.train_loop import LoopIntervals as LoopIntervals
from experiments.run.training.train_loop import Result as Result
from experiments.run.training.train_loop import read_result as read_result
from experiments.run.training.train_loop import train as train
from experiments.run.training.train_loop import training_key as training_key
from pid.interface.command_options import check_ranges as check_ranges
from pid.interface.local_paths import check_paths as check_paths
from pid.interface.memory_check import Arrays as Arrays
from pid.interface.memory_check import check_memory as check_memory
