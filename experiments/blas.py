"""Sets one BLAS thread, unless the environment sets another number.

The matrices here are small, and more threads would wait for each other. OpenBLAS reads the variable when NumPy and
SciPy are imported, so a program imports this file first.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
