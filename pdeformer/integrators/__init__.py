"""`evolve`, u(0) → u(T): the `lax.scan` integrator and the exact fast forms proved equal to it."""

from pdeformer.integrators.api import evolve as evolve

__all__ = ["evolve"]
