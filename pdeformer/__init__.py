"""Transformers steered by partial differential equations."""

from pdeformer.integrators import evolve as evolve
from pdeformer.pde import AdvectionDiffusion as AdvectionDiffusion
from pdeformer.pde import Diffusion as Diffusion
from pdeformer.pde import ReactionDiffusion as ReactionDiffusion
from pdeformer.pde import Wave as Wave
