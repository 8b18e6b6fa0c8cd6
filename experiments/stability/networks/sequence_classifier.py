"""A simulated Transformer between an embedding and a linear head on the mean token.

B batch, T tokens, D channels, V vocabulary, C classes
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from pdeformer.attention import dot_product_attention
from pdeformer.model.positions import sinusoids
from pdeformer.simulator import Coefficients, SimulatorConfig, SimulatorWeights, init_weights, simulate


class Parameters(NamedTuple):
    """What is trained."""

    embedding: Float[Array, "v d"]
    """Token embeddings."""
    layers: SimulatorWeights
    """Weights of all layers."""
    head: Float[Array, "d c"]
    """Linear map from the mean token to the logits."""


def init(
    config: SimulatorConfig, vocabulary: int, classes: int, key: Key[Array, ""], *, gain: float | Array = 1.0
) -> Parameters:
    """Draw embeddings from N(0, 1), layers with `gain`, and a head from N(0, 1/D)."""
    embed_key, layers_key, head_key = jax.random.split(key, 3)
    return Parameters(
        jax.random.normal(embed_key, (vocabulary, config.width)),
        attend_at_once(init_weights(config, layers_key, gain=gain)),
        jax.random.normal(head_key, (config.width, classes)) / config.width**0.5,
    )


def attend_at_once(weights: SimulatorWeights) -> SimulatorWeights:
    """Let the attention form all scores at once: for short rows the loop of the default takes most of the time."""
    blocks = weights.block()
    blocks.attention.evolution = _ATTENTION
    return SimulatorWeights(weights.params, nnx.split(blocks)[0])


_ATTENTION: Any = partial(dot_product_attention, method="xla")


def embed(parameters: Parameters, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
    """Return the first state: token embedding plus sinusoidal position."""
    return parameters.embedding[ids] + sinusoids(ids.shape[1], parameters.embedding.shape[1])[None]


def classify(
    parameters: Parameters,
    ids: Int[Array, "b t"],
    config: SimulatorConfig,
    coefficients: Coefficients,
    segment_ids: Int[Array, "b t"] | None = None,
) -> Float[Array, "b c"]:
    """Return the logits."""
    u = last_state(parameters, ids, config, coefficients, segment_ids)
    return read_out(parameters, u, config, segment_ids)


def last_state(
    parameters: Parameters,
    ids: Int[Array, "b t"],
    config: SimulatorConfig,
    coefficients: Coefficients,
    segment_ids: Int[Array, "b t"] | None = None,
) -> Float[Array, "b t d"]:
    """Return the state after the last layer."""
    u = embed(parameters, ids)
    return simulate(u, parameters.layers, config, coefficients, segment_ids=segment_ids).u


def read_out(
    parameters: Parameters,
    u: Float[Array, "b t d"],
    config: SimulatorConfig,
    segment_ids: Int[Array, "b t"] | None = None,
) -> Float[Array, "b c"]:
    """Return the logits of the mean valid token; with norm "pre" of its LayerNorm without parameters, as in a model."""
    if config.norm == "pre":
        centered = u - jnp.mean(u, axis=-1, keepdims=True)
        u = centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-6)
    valid = jnp.ones(u.shape[:2], u.dtype) if segment_ids is None else (segment_ids > 0).astype(u.dtype)
    mean = jnp.einsum("btd,bt->bd", u, valid) / jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1)
    return mean @ parameters.head
