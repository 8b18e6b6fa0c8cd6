"""A simulated Transformer between an embedding and a linear head on the mean token.

B batch, T tokens, D channels, V vocabulary, C classes
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from pdeformer.model.trunk import sinusoids
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
        init_weights(config, layers_key, gain=gain),
        jax.random.normal(head_key, (config.width, classes)) / config.width**0.5,
    )


def embed(parameters: Parameters, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
    """Return the first state: token embedding plus sinusoidal position."""
    return parameters.embedding[ids] + sinusoids(ids.shape[1], parameters.embedding.shape[1])[None]


def classify(
    parameters: Parameters,
    ids: Int[Array, "b t"],
    config: SimulatorConfig,
    coefficients: Coefficients,
    segment_ids: Int[Array, "b t"] | None = None,
) -> tuple[Float[Array, "b c"], Float[Array, "b t d"]]:
    """Return logits and the state after the last layer.

    The head reads the mean of the valid tokens; with norm "pre", of their LayerNorms without parameters, since the
    state itself has no norm there.
    """
    u = simulate(embed(parameters, ids), parameters.layers, config, coefficients, segment_ids=segment_ids).u
    tokens = u
    if config.norm == "pre":
        centered = u - jnp.mean(u, axis=-1, keepdims=True)
        tokens = centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-6)
    valid = jnp.ones(ids.shape, u.dtype) if segment_ids is None else (segment_ids > 0).astype(u.dtype)
    mean = jnp.einsum("btd,bt->bd", tokens, valid) / jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1)
    return mean @ parameters.head, u
