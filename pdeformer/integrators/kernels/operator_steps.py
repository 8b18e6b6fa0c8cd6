"""What a kernel applies: n steps, or their causal form, or the transpose of one of them."""

from typing import NamedTuple


class Operator(NamedTuple):
    """The operator M of all steps."""

    steps: int
    """The number of steps n."""
    causal: bool = False
    """Whether it is the causal form."""
    adjoint: bool = False
    """Whether it is Mᵀ, which differs from M in the causal form only."""

    @property
    def transposed(self) -> "Operator":
        """Mᵀ, which a backward pass applies."""
        return self._replace(adjoint=True)
