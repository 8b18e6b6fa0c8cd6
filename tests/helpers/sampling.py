"""A sample of the cases of a parametrized test for the default suite; the others are marked exhaustive."""

from collections.abc import Iterable

import pytest


def sample(cases: Iterable, every: int, first: int = 0) -> list:
    """Return all cases of a parametrization; each but every n-th one, from `first` on, runs only in the long suite."""
    parameters = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*case, marks=[] if index % every == first else pytest.mark.exhaustive)
        for index, case in enumerate(parameters)
    ]
