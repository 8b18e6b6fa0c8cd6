"""The pictures of a decomposition: from results to a matplotlib Figure, without a window or a global state.

    stacked_atoms   the four atoms on top of each other by layer, and their sum I(M;X,Y)
    shares          the atoms in percent of I(M;X,Y) by layer
    trajectories    every quantity by layer: estimate, interval, plug-in, null, truth
    differences     a comparison by layer, other - base, with intervals
    eigenvalues     the spectrum of λ that splits the target between the sources
    bars            what has no layers

Each makes a figure of its own, or draws into axes that are given. `look` holds the colours and the frame;
`composition`, `course` and `singles` are the pictures.
"""

from pid.plots.by_layer import differences as differences
from pid.plots.by_layer import trajectories as trajectories
from pid.plots.composition import shares as shares
from pid.plots.composition import stacked_atoms as stacked_atoms
from pid.plots.single import bars as bars
from pid.plots.single import eigenvalues as eigenvalues
from pid.plots.style import LOOKS as LOOKS
from pid.plots.style import STYLE as STYLE
