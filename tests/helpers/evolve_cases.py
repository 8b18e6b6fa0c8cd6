"""The equations, boundaries and segment patterns on which the tests of `evolve` run."""

import numpy as np

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.integrators.api import applicable_methods
from tests.helpers import oracle

T, D = 40, 3
POSITIVE = np.random.default_rng(0).uniform(0.05, 0.95, size=(T, D))
PER_CHANNEL = np.array([0.05, 0.12, 0.2])
SEGMENTS = np.stack(
    [
        np.repeat([1, 0], [31, 9]),  # right padding
        np.repeat([1, 0, 1], [11, 3, 26]),  # one id on both sides of a hole
        np.repeat([1, 2, 3, 0], [12, 1, 20, 7]),  # packed, one run of a single token
        np.repeat(
            [0, 5, 0, 6, 7], [2, 2, 1, 3, 32]
        ),  # left padding, runs shorter than the stencil of five steps
    ]
)
PDES = {
    "diffusion": Diffusion(PER_CHANNEL),
    "wave": Wave(np.array([0.3, 0.9, 1.0])),
    "advection": AdvectionDiffusion(PER_CHANNEL, np.array([0.3, -0.3, 0.5])),
    "advection, scalars": AdvectionDiffusion(0.1, -0.25),
    "fisher": ReactionDiffusion(PER_CHANNEL, np.array([0.4, -0.4, 1.0])),
    "allen-cahn": ReactionDiffusion(0.2, 0.5, "allen_cahn"),
}
BOUNDARIES = ("neumann", "periodic", "dirichlet", "copy")
WALLS = ("neumann", "dirichlet", "copy")
LINEAR = ("diffusion", "wave", "advection")
CAUSAL = [name for name in PDES if name != "wave"]


def dense_evolve(u, pde, **kwargs):
    """Evolve u by the dense matrices of the oracle."""
    coefficients = dict(pde.coefficients())
    if isinstance(pde, ReactionDiffusion):
        coefficients["reaction"] = pde.reaction
    return oracle.evolve(u, type(pde).__name__, coefficients, **kwargs)


def methods(pde, boundary, *, segmented=False, causal=False):
    """Return all methods that are exact for these arguments, and "auto"."""
    return (*applicable_methods(pde, boundary, segmented=segmented, causal=causal), "auto")
