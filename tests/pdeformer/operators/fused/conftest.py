"""The stand-in kernel, which takes the place of those of accelerators on CPU."""

import pytest

from pdeformer.attention.plain import kernel_choice

DENSE = "tests.pdeformer.operators.fused.dense_kernel"


@pytest.fixture
def dense_kernel_on_cpu(monkeypatch):
    """Let calls on CPU choose the stand-in kernel."""
    monkeypatch.setitem(kernel_choice.MODULES, "dense", DENSE)
    monkeypatch.setitem(kernel_choice.PLATFORMS, "dense", ("cpu",))
