"""One BLAS thread, unless the environment says otherwise.

Matrices here are small, and more threads wait for each other. OpenBLAS reads the variable when NumPy and SciPy are
imported, so a program imports this first.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
