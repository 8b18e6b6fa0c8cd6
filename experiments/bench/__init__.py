"""What our fast forms cost beside the plain ones: time and memory, as ratios taken within one process.

    python -m experiments.bench                      # every section, under five minutes on two cores
    python -m experiments.bench --only evolved       # one section

Every pair of functions is compiled and warmed before it is timed; A and B then run in alternating order, because
identical code timed in one order reads 0.96 to 1.32. A ratio is the median over the pairs and says how many times
faster ours is. `temporaries` is XLA's own plan of the memory a program needs beside its arguments and results.
"""

from experiments import blas as blas
