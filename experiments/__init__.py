"""Programs, each started by `python -m experiments.NAME` and described by its `--help`.

run/          what the programs share: run folder, training loop, studies, tables, command line
data/         data sets, and the program that lists, prepares, verifies and shows them
roofline/     what compiled programs cost, and the least that a chip would need
lra/          Long Range Arena: a Transformer with a PDE in it, and its baseline
lm/           causal language models with a PDE: bits per byte, context, the artifact of padding, long sequences
text/         text classification: models of Continuous-Time Attention, and a bag of words beside them
placement/    where to add diffusion: a layer at one place after another, against controls
claims/       claims of the Continuous-Time Attention paper, measured
pid_gaussian/ Gaussian partial information decomposition of samples, and of your own activations
pid_llava/    how vision becomes language inside a LLaVA
bench/        time and memory of the fast forms beside the plain ones
aot/          programs compiled for accelerators that are not attached, and what they cost there
"""

import os

# The matrices here are small, and more threads would wait for each other. OpenBLAS reads this when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pid.interface.extras import require_extra

require_extra("experiments", "experiments", "grain", "matplotlib", "orbax", "rich", "tensorflow_datasets")

for descriptor in range(3):  # The next file would take a closed one, and get what libraries print.
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
