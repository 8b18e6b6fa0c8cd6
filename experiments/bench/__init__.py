"""Time and memory of our fast forms beside the plain ones, as ratios taken within one process.

    python -m experiments.bench                      # every section, under seven minutes on two cores
    python -m experiments.bench --only evolved       # one section
    python -m experiments.bench --out runs/bench/bench-001 --resume    # go on after a kill

Every pair of functions is compiled and warmed before it is timed. A and B then run in alternating order, because
identical code timed in one order reads 0.96 to 1.32. A ratio is the median over the pairs and says how many times
faster ours is. `temporaries` is XLA's own plan of the memory that a program needs beside its arguments and results.

Files in import order:

config             options of the command line
timing             two programs timed against each other, and their planned memory
evolved_attention  attention evolved by a PDE against plain attention
operators          attention and the integrators against the plain forms of the same operation
iterative_broja    Gaussian BROJA as published, an iteration
broja_speed        the closed form in a batch against a loop and against the iteration
llava_capture      knockout windows and pooled states of LLaVA's language model
program            the sections as a study
"""

from experiments import blas as blas
