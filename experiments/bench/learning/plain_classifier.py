"""The two-layer Transformer as one would write it in plain Flax: dense attention, and a list of blocks.

B batch, T tokens, D channels, N heads, H head width, L blocks
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from pdeformer.model import ModelConfig


class PlainBlock(nnx.Module):
    """A pre-LN block of `nnx.MultiHeadAttention` and a feed-forward sublayer."""

    def __init__(self, config: ModelConfig, *, dropout_per_head: bool, rngs: nnx.Rngs) -> None:
        """Make the sublayers."""
        width = config.width
        self.norm_attention = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            config.heads,
            width,
            config.query_width,
            dropout_rate=config.attention_dropout,
            broadcast_dropout=not dropout_per_head,
            decode=False,
            keep_rngs=False,
            rngs=rngs,
        )
        self.norm_ffn = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, config.ffn, rngs=rngs)
        self.down = nnx.Linear(config.ffn, width, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, u: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """Return the states (B, T, D) after the block."""
        is_fixed = rngs is None
        attention = self.attention(self.norm_attention(u), mask=mask, deterministic=is_fixed, rngs=rngs)
        u = u + self.dropout(attention, deterministic=is_fixed, rngs=rngs)
        hidden = self.dropout(nnx.gelu(self.up(self.norm_ffn(u))), deterministic=is_fixed, rngs=rngs)
        return u + self.dropout(self.down(hidden), deterministic=is_fixed, rngs=rngs)


class PlainClassifier(nnx.Module):
    """The classifier of `two_layer` in plain Flax.

    Args:
        config: sizes and dropout rates of the model.
        dropout_per_head: draw a dropout mask of attention weights for each example and head, as ours does; the default
            of Flax is one mask for all of them.
        rngs: the seed.
    """

    def __init__(self, config: ModelConfig, *, dropout_per_head: bool = False, rngs: nnx.Rngs) -> None:
        """Make all layers."""
        width, hidden = config.width, config.classifier_width or config.width
        self.tokens = nnx.Embed(config.vocabulary, width, rngs=rngs)
        self.positions = nnx.Embed(config.max_len, width, rngs=rngs)
        self.blocks = nnx.List(
            [PlainBlock(config, dropout_per_head=dropout_per_head, rngs=rngs) for _ in range(config.layers)]
        )
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.hidden = nnx.Linear(width, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, config.classes, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, tokens: jax.Array, lengths: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return the logits of tokens (B, T) whose first `lengths` (B,) are real; without `rngs` no dropout."""
        is_token = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        u = self.tokens(tokens.astype(jnp.int32)) + self.positions.embedding[...][None, : tokens.shape[1]]
        u = self.dropout(u, deterministic=rngs is None, rngs=rngs)
        for block in self.blocks:
            u = block(u, is_token[:, None, None, :], rngs)
        u = jnp.where(is_token[..., None], self.norm(u), 0)
        mean = jnp.sum(u, axis=1) / lengths[:, None].astype(u.dtype)
        return self.head(nnx.gelu(self.hidden(mean)))


class PlainState(NamedTuple):
    """What a plain training step changes."""

    step: Any
    """Number of updates so far."""
    params: Any
    """The parameters, as nested dictionaries."""
    opt_state: Any
    """The state of AdamW."""


def make_plain_training(
    config: ModelConfig, params: Any, *, learning_rate: float, eps: float, dropout_per_head: bool = False
) -> tuple[PlainState, Any]:
    """Make the state with the given parameters, and the jitted step `(state, batch, key) -> (state, loss)`."""
    model = nnx.eval_shape(
        lambda: PlainClassifier(config, dropout_per_head=dropout_per_head, rngs=nnx.Rngs(0))
    )
    graphdef = nnx.split(model, nnx.Param)[0]
    tx = optax.adamw(learning_rate, eps=eps, weight_decay=0.0)
    has_dropout = config.dropout > 0 or config.attention_dropout > 0

    def loss(params: Any, batch: Any, key: Any) -> jax.Array:
        rngs = nnx.Rngs(dropout=key) if has_dropout else None
        logits = nnx.merge(graphdef, params)(batch["tokens"], batch["lengths"], rngs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()

    def step(state: PlainState, batch: Any, key: Any) -> tuple[PlainState, jax.Array]:
        key = jax.random.fold_in(key, state.step)
        value, gradient = jax.value_and_grad(loss)(state.params, batch, key)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        return PlainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state), value

    return PlainState(jnp.zeros((), jnp.int32), params, tx.init(params)), jax.jit(step, donate_argnums=0)


def plain_parameters(params: Any, config: ModelConfig) -> Any:
    """Return parameters of our `Classifier` as those of a `PlainClassifier`; a linear map, so gradients too."""

    def block(index: int) -> Any:
        layer = jax.tree.map(lambda x: x[index], params["blocks"])
        attention = {
            name: _split_heads(layer["attention"][name], config.heads) for name in ("query", "key", "value")
        }
        out = layer["attention"]["out"]
        kernel = out["kernel"].reshape(config.heads, -1, config.width)
        attention["out"] = {"kernel": kernel, "bias": out["bias"]}
        norms = {name: layer[name] for name in ("norm_attention", "norm_ffn")}
        return norms | layer["ffn"] | {"attention": attention}

    embed = {name: params["embed"][name] for name in ("tokens", "positions")}
    others = {name: params[name] for name in ("norm", "hidden", "head")}
    blocks = {index: block(index) for index in range(config.layers)}
    return jax.tree.map(
        jnp.array, embed | others | {"blocks": blocks}
    )  # copies, since a step donates its state


def _split_heads(linear: Any, heads: int) -> Any:
    """Split the outputs of a linear map, (D, NH) and (NH,), by heads: (D, N, H) and (N, H)."""
    kernel, bias = linear["kernel"], linear["bias"]
    return {"kernel": kernel.reshape(kernel.shape[0], heads, -1), "bias": bias.reshape(heads, -1)}
