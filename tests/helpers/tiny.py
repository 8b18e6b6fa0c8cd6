"""A tiny Transformer with stacked blocks, and data that it can learn, for tests of training.

Its parameters have the names and numbers of dimensions of a real model, so the sharding rules match their paths.
Legend: B batch, T tokens, D channels, L layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

CLASSES, VOCABULARY, TOKENS, CHANNELS, LAYERS = 4, 12, 6, 8, 2


class Attention(nnx.Module):
    """One head of attention without bias."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.query = nnx.Linear(CHANNELS, CHANNELS, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(CHANNELS, CHANNELS, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(CHANNELS, CHANNELS, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(CHANNELS, CHANNELS, use_bias=False, rngs=rngs)

    def __call__(self, x, segment_ids):
        query, key, value = self.query(x), self.key(x), self.value(x)
        mask = (segment_ids[:, :, None] == segment_ids[:, None, :]) & (segment_ids[:, None, :] > 0)
        logits = jnp.einsum("btd,bsd->bts", query, key) / CHANNELS**0.5
        return self.out(jax.nn.softmax(jnp.where(mask, logits, -1e9)) @ value)


class FeedForward(nnx.Module):
    """Two layers with bias."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(CHANNELS, 2 * CHANNELS, rngs=rngs)
        self.down = nnx.Linear(2 * CHANNELS, CHANNELS, rngs=rngs)

    def __call__(self, x):
        return self.down(jax.nn.gelu(self.up(x)))


class Block(nnx.Module):
    """Attention and feed-forward with residual connections, and dropout if there is a key."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(CHANNELS, rngs=rngs)
        self.attention = Attention(rngs=rngs)
        self.ffn = FeedForward(rngs=rngs)

    def __call__(self, x, segment_ids, key):
        x = x + self.attention(self.norm(x), segment_ids)
        y = self.ffn(x)
        return x + (y if key is None else y * jax.random.bernoulli(key, 0.9, y.shape) / 0.9)


class Embed(nnx.Module):
    """The embedding of tokens."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.token = nnx.Embed(VOCABULARY, CHANNELS, rngs=rngs)


class Tiny(nnx.Module):
    """The classifier: `Tiny(rngs=...)(tokens, segment_ids, key=key)`."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.embed = Embed(rngs=rngs)
        self.blocks = nnx.split_rngs(splits=LAYERS)(nnx.vmap(lambda rngs: Block(rngs=rngs)))(rngs)
        self.head = nnx.Linear(CHANNELS, CLASSES, rngs=rngs)

    def __call__(self, tokens, segment_ids=None, *, key=None):
        segment_ids = jnp.ones_like(tokens) if segment_ids is None else segment_ids
        graphdef, params = nnx.split(self.blocks)

        def layer(x, params_and_index):
            params, index = params_and_index
            return nnx.merge(graphdef, params)(
                x, segment_ids, None if key is None else jax.random.fold_in(key, index)
            ), None

        x, _ = jax.lax.scan(layer, self.embed.token(tokens), (params, jnp.arange(LAYERS)))
        valid = (segment_ids > 0)[..., None]
        return self.head(jnp.sum(x * valid, axis=1) / jnp.sum(valid, axis=1))


def build(rngs: nnx.Rngs) -> Tiny:
    """Build the model, as `init_state` expects."""
    return Tiny(rngs=rngs)


def batch_of(step: int, rows: int = 16) -> dict[str, np.ndarray]:
    """Return the batch of a step: random tokens, the class of the first token, and a padded last token in odd rows."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCABULARY, (rows, TOKENS)).astype(np.int32)
    segment_ids = np.ones_like(tokens)
    segment_ids[1::2, -1] = 0
    return {"tokens": tokens, "segment_ids": segment_ids, "labels": tokens[:, 0] % CLASSES}
