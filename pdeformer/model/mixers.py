"""What mixes the tokens of a block: attention and its windowed and random-feature forms, or a linear recurrence.

B batch, T tokens, N heads, H head width, D channels, P states
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from pdeformer.attention import AttentionCache, dot_product_attention, pde_attention_decode
from pdeformer.attention.types import Precision
from pdeformer.layers import LinearRecurrence
from pdeformer.model.config import ModelConfig
from pdeformer.model.positions import alibi_slopes, rotate, token_positions
from pdeformer.sharding.sequence_attention import pde_attention_on_mesh, splits_attention

FEATURE_SEED = 0  # of the random features, which are no parameters


def linear(
    config: ModelConfig, inputs: int, outputs: int, rngs: nnx.Rngs, *, bias: bool = True
) -> nnx.Linear:
    """Make a Xavier-initialized linear map with float32 parameters, computed in the dtype of the config."""
    init = nnx.initializers.xavier_uniform()
    return nnx.Linear(
        inputs, outputs, use_bias=bias, dtype=jnp.dtype(config.dtype), kernel_init=init, rngs=rngs
    )


class Attention(nnx.Module):
    """Multi-head attention within segments: plain, in a window, by random features, or evolved by a PDE."""

    def __init__(self, config: ModelConfig, *, causal: bool, rngs: nnx.Rngs):
        """Make the projections, and the evolution if the config has one."""
        width, inner, bias = config.width, config.query_width, config.attention_bias
        self.heads, self.causal, self.rate = config.heads, causal, config.attention_dropout
        self.query = linear(config, width, inner, rngs, bias=bias)
        self.key = linear(config, width, inner, rngs, bias=bias)
        self.value = linear(config, width, inner, rngs, bias=bias)
        self.out = linear(config, inner, width, rngs, bias=bias)
        self.evolution = config.attention.build(config.heads)
        self.precision: Precision | None = config.attention.precision
        self.window, self.features, self.positions = config.window, config.feature_count, config.positions

    def __call__(
        self,
        u: Float[Array, "b t d"],
        segment_ids: Int[Array, "b t"] | None,
        *,
        key: Key[Array, ""] | None,
        positions: Int[Array, "b_ t"] | None = None,
        mix: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "b t d"]:
        """Mix the tokens of every segment.

        Args:
            u: hidden states.
            segment_ids: 0 is padding; None is one segment.
            key: draws the attention dropout.
            positions: positions of the tokens in their segments, for rotary positions; None computes them.
            mix: maps queries, keys and values, see `project`.

        Returns:
            The mixed states.
        """
        query, key_tokens, value = self.project(u, segment_ids, positions, mix)
        dropout: dict[str, Any] = {"dropout": 0.0 if key is None else self.rate, "dropout_key": key}
        if self.features is not None:
            dropout = {}  # no weights are formed that could be dropped
        output = self._attend(query, key_tokens)(
            *(query, key_tokens, value), segment_ids=segment_ids, is_causal=self.causal, **dropout
        )
        return self.out(output.reshape(*u.shape[:2], self.out.in_features))

    def _attend(self, query: Array, key: Array) -> Any:
        """Return the function of queries, keys and values."""
        if self.evolution is not None:
            return self.evolution
        if self.positions == "alibi":
            options: Any = {"window": self.window, "slopes": alibi_slopes(self.heads)}
            return partial(dot_product_attention, precision=self.precision, **options)
        if self.features is not None or splits_attention(query, key):
            return partial(pde_attention_on_mesh, **self._without_evolution())
        return partial(dot_product_attention, window=self.window, precision=self.precision)

    def _without_evolution(self) -> dict[str, Any]:
        """Return the options of an evolved attention that is not evolved."""
        options: dict[str, Any] = {"pde": None, "steps": 0, "precision": self.precision}
        if self.features is not None:
            random = jax.random.key(FEATURE_SEED)
            return options | {"base": "performer", "features": self.features, "feature_key": random}
        return options | {"window": self.window}

    def decode(
        self,
        u: Float[Array, "b t d"],
        cache: AttentionCache,
        segment_ids: Int[Array, "b t"] | None,
        positions: Int[Array, "b t"],
        mix: Callable[[Array], Array] | None = None,
    ) -> tuple[Float[Array, "b t d"], AttentionCache]:
        """Mix new tokens with the earlier ones of the cache, whose keys are rotated, and append them to it."""
        query, key, value = self.project(u, segment_ids, positions, mix)
        plain = partial(pde_attention_decode, **self._without_evolution())
        decode = plain if self.evolution is None else self.evolution.decode
        output, cache = decode(query, key, value, cache=cache, segment_ids=segment_ids)
        return self.out(output.reshape(*u.shape[:2], self.out.in_features)), cache

    def project(
        self,
        u: Array,
        segment_ids: Array | None = None,
        positions: Array | None = None,
        mix: Callable[[Array], Array] | None = None,
    ) -> tuple[Array, ...]:
        """Return query, key and value, (B, T, N, H); queries and keys are rotated if the positions are rotary.

        `mix` maps all three before that, side by side as (B, T, 3 N H).
        """
        shape = *u.shape[:2], self.heads, self.out.in_features // self.heads
        columns = [project(u) for project in (self.query, self.key, self.value)]
        if mix is not None:
            columns = jnp.split(mix(jnp.concatenate(columns, axis=-1)), 3, axis=-1)
        query, key, value = (column.reshape(shape) for column in columns)
        if self.positions == "rotary":
            positions = token_positions(u.shape[1], segment_ids) if positions is None else positions
            query, key = rotate(query, positions), rotate(key, positions)
        return query, key, value

    @property
    def has_plain_scores(self) -> bool:
        """Whether the weights, before an evolution, are the softmax of q·k over all tokens of a segment."""
        return self.window is None and self.features is None and self.positions != "alibi"


class Recurrence(nnx.Module):
    """A linear recurrence in place of attention: bidirectional, or causal in a causal model.

    Without a number of states in the config it has as many parameters as attention without biases, up to one state.
    """

    def __init__(self, config: ModelConfig, *, causal: bool, rngs: nnx.Rngs):
        """Draw the recurrence."""
        width, projections = config.width, 4 if causal else 6  # real and imaginary parts of B and C
        size = 4 * width * config.query_width - width
        states = config.states or max(1, round(size / (projections * width + 3)))
        options: Any = {"bidirectional": not causal, "dtype": config.dtype, "rngs": rngs}
        self.recurrence = LinearRecurrence(width, states, **options)
        self.evolution = None

    @property
    def has_plain_scores(self) -> bool:
        """Whether there are weights that are the softmax of q·k: never."""
        return False

    def __call__(
        self,
        u: Float[Array, "b t d"],
        segment_ids: Int[Array, "b t"] | None,
        *,
        key: Key[Array, ""] | None,
        positions: Int[Array, "b_ t"] | None = None,
        mix: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "b t d"]:
        """Mix the tokens of every run; dropout of weights, positions and `mix` have no meaning here."""
        del key, positions, mix
        return self.recurrence(u, segment_ids)


def make_mixer(config: ModelConfig, *, causal: bool, rngs: nnx.Rngs) -> Any:
    """Return the mixer of the config, an `Attention` or a `Recurrence`."""
    kind = Recurrence if config.mixer == "lru" else Attention
    return kind(config, causal=causal, rngs=rngs)
