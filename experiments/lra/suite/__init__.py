"""The suite: every task with one configuration, one table and one figure.

Files in import order:

suite_config    options of the suite, and the run of each task
suite_table     rows of variants, columns of tasks, and published accuracies beside them
suite_figure    accuracies of all variants, a panel for each task
suite_presets   the presets of the suite, and its command line
suite_program   the runs of the tasks one after another, in folders of their own
"""

from experiments.lra.suite.suite_config import SuiteConfig as SuiteConfig
from experiments.lra.suite.suite_presets import SUITE_PRESETS as SUITE_PRESETS
from experiments.lra.suite.suite_presets import suite_arguments as suite_arguments
from experiments.lra.suite.suite_presets import suite_command_line as suite_command_line
from experiments.lra.suite.suite_program import run_suite as run_suite
