"""One of two processes that hold one tiny LLaVA together and capture into one store.

python -m tests.llava.activations.capture_host PORT INDEX DATA MODEL CHECKPOINT STORE
"""

import sys

import jax
import jax.numpy as jnp

from pid import llava
from tests.helpers import tiny_llava


def run_host(port: str, index: str, data: str, model: str, checkpoint: str, store: str) -> None:
    """Join the other process, load the checkpoint onto the devices of both, and capture twice: the second resumes."""
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(index))
    mesh = llava.MeshShape(data=int(data), model=int(model)).concrete()
    loaded = llava.load(checkpoint, dtype=jnp.float32, mesh=mesh)
    kernel = loaded.language.blocks.query.kernel[...]
    print("shard", kernel.addressable_shards[0].data.shape, flush=True)
    rows = tiny_llava.rows()
    with tiny_llava.quick_programs():
        tiny_llava.capture(store, rows[:2], model=loaded)
        captured = tiny_llava.capture(store, rows, model=loaded)
    print("rows", len(captured.names), flush=True)


if __name__ == "__main__":
    run_host(*sys.argv[1:])
