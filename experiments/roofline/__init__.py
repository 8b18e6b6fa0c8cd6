"""What a compiled program costs, read from its text, and the least that a chip would need for it.

Files in import order:

hlo_text           instructions of a compiled program
scalar_arithmetic  integers of a kernel for all steps of its grid
mosaic_kernels     grid and blocks of the kernels of a TPU
triton_loads       bytes that the programs of a kernel of a GPU load and store
hlo_traffic        bytes that an instruction moves
hlo_totals         bytes, collectives, cycles and kernels of a program, loops times their trips
matrix_flops       operations of the matrix products of a traced program
chips              peak rates of the accelerators
roof               least and expected time
"""

from experiments.roofline.chips import CHIPS as CHIPS
from experiments.roofline.chips import Chip as Chip
from experiments.roofline.hlo_text import parse as parse
from experiments.roofline.hlo_totals import Totals as Totals
from experiments.roofline.hlo_totals import total as total
from experiments.roofline.matrix_flops import matrix_flops as matrix_flops
from experiments.roofline.roof import Estimate as Estimate
from experiments.roofline.roof import estimate as estimate
