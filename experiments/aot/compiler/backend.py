"""The one place where code that is traced here believes to run on a target."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import jax


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Let `jax.default_backend()` answer `platform` inside the block.

    Our packages ask it at trace time which form to take; without this they would take that of the CPU on which they are
    traced. Nothing may run inside the block, only be traced, lowered and compiled.

    Args:
        platform: "tpu" or "gpu".
    """
    with mock.patch.object(jax, "default_backend", return_value=platform):
        yield
