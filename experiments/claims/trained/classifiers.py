"""The classifiers of `gradients` and `landscape`: one task, three variants, the same initial weights and batches.

Recall: the class of a row of random tokens is its first token. A share of the labels is redrawn at random, which no
classifier can predict, so the loss has the same positive lower bound for all variants. The data are synthetic.

    B batch, L tokens, C classes
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from experiments.claims.config import Training
from experiments.claims.trained.network import Alpha, Shape, Steps, classify, init
from experiments.claims.trained.short_training import Fit, Trained
from pdeformer import cta, train


def variants(size: Training) -> dict[str, Alpha]:
    """Return the diffusivities of every variant, the plain network first."""
    return {
        "plain": Alpha(),
        "PDE on attention": Alpha(attention=size.alpha),
        "PDE on hidden states": Alpha(hidden=size.alpha),
    }


def shape(size: Training) -> Shape:
    """Return the sizes of the network."""
    return Shape(size.vocabulary, size.vocabulary, size.tokens, size.width, size.heads, size.ffn, size.layers)


def draw(size: Training, rows: int, key: Key[Array, ""]) -> tuple[Int[Array, "b l"], Int[Array, " b"]]:
    """Draw rows and labels."""
    ids_key, noise_key, label_key = jax.random.split(key, 3)
    ids = jax.random.randint(ids_key, (rows, size.tokens), 0, size.vocabulary)
    is_noisy = jax.random.bernoulli(noise_key, size.noise, (rows,))
    return ids, jnp.where(is_noisy, jax.random.randint(label_key, (rows,), 0, size.vocabulary), ids[:, 0])


def loss(
    weights: cta.Weights, rows: tuple[Array, Array], alpha: Alpha, size: Training
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return mean cross-entropy in nats, and accuracy."""
    ids, labels = rows
    logits = classify(weights, ids, alpha, steps=Steps(size.pde_steps, size.pde_steps), heads=size.heads)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(nats), jnp.mean(jnp.argmax(logits, -1) == labels)


@functools.lru_cache(maxsize=1)
def trained(size: Training, seeds: tuple[int, ...]) -> dict[tuple[str, int], Trained]:
    """Train every variant with every seed: (variant, seed) -> training. Cached, since two sections need it."""
    warmup = max(1, size.steps // 10)
    optimizer = train.Optimizer(size.learning_rate, schedule="constant", warmup=warmup, clip=1.0)
    fit = Fit(
        lambda weights, alpha, key: loss(weights, draw(size, size.batch, key), alpha, size),
        optimizer,
        size.steps,
        size.batch * size.tokens,
    )
    return {
        (name, seed): fit(init(jax.random.key(seed), shape(size)), alpha, seed, name)
        for name, alpha in variants(size).items()
        for seed in seeds
    }
