"""Time and memory of our fast implementations relative to plain ones, measured within one process.

    python -m experiments.bench                      # every section, a quarter of an hour on two cores
    python -m experiments.bench --only evolved       # one section
    python -m experiments.bench --compare earlier/summary.json         # each row over an earlier one
    python -m experiments.bench --out runs/bench/bench-001 --resume    # continue after a kill

Every pair of functions is compiled and warmed up before it is timed. A and B then run in alternating order, because
identical code timed in a fixed order has ratios of 0.96 to 1.32. A ratio is the median over the pairs: how many times
faster our implementation is. `temporaries` is the memory that XLA plans for a program besides arguments and results.
The rows are the same on every device. `roofline` is the share of what the device can do, by its measured peak rates.

Files in import order:

config             options of the command line
bench_arrays       the largest arrays of every section
machine            peak rates of the device
timing             two programs timed against each other, and their planned memory
evolved_attention  attention evolved by a PDE against plain attention
operators          attention and the integrators against plain implementations of the same operation
learning           training steps and their input against plain programs
iterative_broja    Gaussian BROJA by the published iteration
broja_speed        our batched closed form against a loop and against the iteration
llava_capture      knockout windows and pooled states of LLaVA's language model
earlier_run        rows of an earlier summary
program            the sections as a study
"""

from experiments.bench.config import Config as Config
from experiments.bench.config import command_line as command_line
from experiments.bench.program import main as main
