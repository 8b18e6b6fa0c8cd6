"""Programs compiled for accelerators that are not attached, and what they cost there.

    python -m experiments.aot                        # everything, under half an hour on two cores
    python -m experiments.aot --quick                # five programs for one chip
    python -m experiments.aot --only attention --machines v5e-1
    python -m experiments.aot --out runs/aot/aot-001 --resume

The compilers of TPU and GPU run without a device. From what they return this program reads memory, bytes, operations
and collectives of each device. Nothing runs, so times are estimates. The exit code is 1 if a program does not fit the
memory, does not compile, or exceeds a bound that is declared beside it.

Files in import order:

config        options of the command line
targets       machines and the wheels that compile for them
topologies    devices of machines that are not attached
cases         what is compiled, for which machines, and what it must reach
compiler      one case in a process of its own
subprocesses  several processes at a time
verdict       expected times and broken bounds
report        tables
figures       roofline, and memory against tokens
program       the cases as a study
"""

from experiments.aot.config import Config as Config
from experiments.aot.config import command_line as command_line
from experiments.aot.program import main as main
