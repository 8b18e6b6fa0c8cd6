"""The path graph of a token sequence, and the difference operators on it.

Tokens 0 … T-1 form a path. An edge joins two neighboring tokens only inside one segment (`segment_ids`: 0 is
padding, equal positive ids belong together). A *run* is a maximal chain of joined tokens. Everything else
follows from the edges: padding, holes and packed sequences need no other rule.

Operators act along axis -2 of `(..., T, D)`. The token spacing is 1. Files, each importing only those above it:

arguments    conversions and checks of segment ids, states and options that functions share
path_graph   the edges of the path, and the rule at the ends of its runs
differences  neighbors, the Laplacian, differences along edges, taps and modes
halo         the rows that a shard of a sequence needs from its neighbors
"""

from pdeformer.stencil.differences import Neighbors as Neighbors
from pdeformer.stencil.differences import Rate as Rate
from pdeformer.stencil.differences import difference as difference
from pdeformer.stencil.differences import divergence as divergence
from pdeformer.stencil.differences import frequencies as frequencies
from pdeformer.stencil.differences import half_line_taps as half_line_taps
from pdeformer.stencil.differences import laplacian as laplacian
from pdeformer.stencil.differences import laplacian_matrix as laplacian_matrix
from pdeformer.stencil.differences import neighbors as neighbors
from pdeformer.stencil.differences import receive as receive
from pdeformer.stencil.differences import upwind as upwind
from pdeformer.stencil.path_graph import BOUNDARIES as BOUNDARIES
from pdeformer.stencil.path_graph import Boundary as Boundary
from pdeformer.stencil.path_graph import Path as Path
from pdeformer.stencil.path_graph import path as path
from pdeformer.stencil.path_graph import rows as rows
from pdeformer.stencil.path_graph import run_ids as run_ids

__all__ = [
    "BOUNDARIES",
    "Boundary",
    "Neighbors",
    "Path",
    "Rate",
    "difference",
    "divergence",
    "frequencies",
    "half_line_taps",
    "laplacian",
    "laplacian_matrix",
    "neighbors",
    "path",
    "receive",
    "rows",
    "run_ids",
    "upwind",
]
