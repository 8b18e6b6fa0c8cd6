"""What a causal model pays for the next token: the loss of the training, and nats by block and position.

Block b has the ids x_0 … x_T. The model reads x_0 … x_{T-1}; its logits at position t predict x_{t+1}, so every id but
the first one of a split is predicted once, and none is padding.

    n blocks, B blocks of a batch, T positions
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Bool, Float32

from experiments.data import arrays
from pdeformer import sharding, train


class Nats(NamedTuple):
    """What a model pays for every token."""

    nats: Float32[np.ndarray, "n t"]
    """Negative log-likelihood of the next token."""
    right: Bool[np.ndarray, "n t"]
    """Whether it is the most probable one."""

    def evaluation(self) -> train.Evaluation:
        """Return the means over all tokens."""
        return train.Evaluation(float(self.nats.mean(dtype=float)), float(self.right.mean()), len(self.nats))


def next_token_loss(model: Any, batch: dict[str, Any], key: Any) -> train.Sums:
    """Return the loss of a `CausalLM` on blocks: the mean over the T predicted tokens of a block, of weight 1."""
    ids = jnp.asarray(batch["tokens"]).astype(jnp.int32)
    logits = model(ids[:, :-1], key=key)
    weights = jnp.broadcast_to(batch["weights"][:, None] / logits.shape[1], logits.shape[:2])
    return train.cross_entropy(logits, ids[:, 1:], weights)


def training_batch(
    split: arrays.Split, size: int, mesh: Mesh, step: int, *, seed: int
) -> dict[str, jax.Array]:
    """Return the training batch of a step on the mesh; all variants get the same batch."""
    own = arrays.batch(split, size, seed=seed, step=step, rows=sharding.host_rows(size, mesh))
    return sharding.put_batch(_arrays(own), mesh, rows=size)


def all_batches(split: arrays.Split, size: int, mesh: Mesh) -> Iterator[dict[str, jax.Array]]:
    """Yield every row of a split once, in batches; the last one is filled with rows of weight 0."""
    for own in arrays.evaluation_batches(split, size, rows=sharding.host_rows(size, mesh)):
        yield sharding.put_batch(_arrays(own), mesh, rows=size)


def _arrays(batch: arrays.Batch) -> dict[str, np.ndarray]:
    """Return the arrays of a batch that a device needs."""
    return {"tokens": batch.tokens, "weights": batch.weights}


def measure_nats(graphdef: Any, params: Any, split: arrays.Split, mesh: Mesh, size: int) -> Nats:
    """Return what a model pays on a split.

    Args:
        graphdef: the model without its parameters.
        params: its parameters.
        split: blocks of T + 1 ids.
        mesh: the mesh.
        size: blocks of a batch on all devices.
    """
    nats_of_batch = _make_nats(graphdef, mesh)
    return _collect(
        (nats_of_batch(params, batch) for batch in all_batches(split, size, mesh)), len(split.labels)
    )


@functools.cache
def _make_nats(graphdef: Any, mesh: Mesh) -> Any:
    """Return the jitted function `(params, batch) -> (nats, right)`; equal models share the compiled program."""

    def nats_of_batch(params: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
        ids = jnp.asarray(batch["tokens"]).astype(jnp.int32)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            logits = nnx.merge(graphdef, params)(ids[:, :-1])
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])
        return nats, jnp.argmax(logits, axis=-1) == ids[:, 1:]

    return jax.jit(nats_of_batch, out_shardings=sharding.replicated_sharding(mesh))


def _collect(batches: Iterable[tuple[Any, Any]], count: int) -> Nats:
    parts = [(np.asarray(nats), np.asarray(right)) for nats, right in batches]
    nats, right = (np.concatenate(column)[:count] for column in zip(*parts, strict=True))
    return Nats(nats, right)


def windows(split: arrays.Split, stride: int) -> arrays.Split:
    """Return windows of T + 1 ids of the whole text, each `stride` tokens after the one before.

    Args:
        split: blocks of T + 1 ids, whose neighbors share one.
        stride: a divisor of T.
    """
    length = split.tokens.shape[1] - 1
    stream = np.concatenate([split.tokens[:1, 0], split.tokens[:, 1:].ravel()])
    tokens = np.lib.stride_tricks.sliding_window_view(stream, length + 1)[::stride]
    empty = np.zeros((len(tokens), 2), np.int32)
    return split._replace(tokens=tokens, lengths=np.full(len(tokens), length + 1, np.int32), labels=empty)


def count_once(nats: Nats, stride: int) -> Nats:
    """Return what a model pays with windows, in the order and shape of blocks.

    The first window counts as a whole, every other one with its last `stride` tokens, which then have T - stride tokens
    or more before them.

    Args:
        nats: that of `windows`.
        stride: their distance.
    """
    length = nats.nats.shape[1]

    def counted(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[0], values[1:, length - stride :].ravel()]).reshape(-1, length)

    return Nats(counted(nats.nats), counted(nats.right))
