"""Options of a training that do not fit its devices or its length."""

import jax
from jax.sharding import Mesh
from rich.console import Console

from pdeformer.train import Optimizer


def check_batch(batch: int, mesh: Mesh, accumulate: int) -> None:
    """Check that the devices can share the micro-batches of a batch.

    Args:
        batch: examples of a step on all devices.
        mesh: devices, whose axis "data" splits the examples.
        accumulate: micro-batches of a step.

    Raises:
        ValueError: the batch is no multiple of data devices times micro-batches.
    """
    devices = mesh.shape["data"]
    if batch % (devices * accumulate):
        raise ValueError(
            f"a batch must be a multiple of data devices times micro-batches, got batch={batch} for {devices} devices "
            f"on {jax.process_count()} hosts and optimizer.accumulate={accumulate}; use a multiple of "
            f"{devices * accumulate}."
        )


def warn_of_warmup(optimizer: Optimizer, steps: int, console: Console) -> None:
    """Print a warning if the learning rate does not reach its peak in so many steps."""
    if optimizer.warmup >= steps:
        console.print(
            f"warm-up of {optimizer.warmup} steps is not shorter than the run of {steps}: the learning rate never "
            f"reaches its peak",
            style="yellow",
        )
