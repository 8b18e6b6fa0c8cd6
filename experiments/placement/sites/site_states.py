"""The states of a model at every site where a layer may stand, and the model as a function of one of them.

A site is a place in one block, from 1; the embedding is in block 0. The place before_norm has two sites in a block,
before attention and before the feed-forward sublayer.

B batch, T tokens, D channels, L blocks
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from pdeformer.model.positions import token_positions


class Site(NamedTuple):
    """Where a layer may stand."""

    block: int
    """Number of the block, from 1; 0 for the embedding."""
    name: str
    """The place; before_norm has two names."""

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.name}, block {self.block}" if self.block else self.name


AtSite = Callable[[Site, Array], Array]
"""(site, state before its layer) -> that state."""
EMBEDDING = Site(0, "after_embedding")
NAMES = (
    "before_norm of attention",
    "before_attention",
    "after_attention",
    "before_norm of ffn",
    "before_ffn",
    "after_ffn",
    "between_layers",
)
"""Sites of a block in the order in which a pre-LN block passes them."""


def sites_of(layers: int) -> list[Site]:
    """Return all sites of a model of L blocks, in order."""
    return [EMBEDDING, *(Site(block, name) for block in range(1, layers + 1) for name in NAMES)]


def last_states(model: Any, tokens: Array, segment_ids: Array, at_site: AtSite) -> Float[Array, "b s d"]:
    """Return the hidden states after the last block and LayerNorm, as `Trunk.hidden_states` without dropout.

    Args:
        model: a classifier, a matcher (one tower) or a language model.
        tokens: ids (B, T).
        segment_ids: 0 is padding.
        at_site: called at every site.
    """
    ids = with_cls(model, segment_ids)
    layer, model.after_embedding = model.after_embedding, None
    u = at_site(EMBEDDING, model.embedded(tokens, ids))
    model.after_embedding = layer
    u = u if layer is None else layer(u, ids, causal=model.causal)
    graphdef, params = nnx.split(model.blocks)
    positions = token_positions(u.shape[1], ids) if model.config.positions == "rotary" else None
    for index in range(model.config.layers):
        block = nnx.merge(graphdef, jax.tree.map(lambda x, index=index: x[index], params))
        u = block(
            u,
            ids,
            positions=positions,
            at_site=lambda name, u, index=index: at_site(Site(index + 1, name), u),
        )
    return u if model.norm is None else model.norm(u)


def with_cls(model: Any, segment_ids: Array) -> Array:
    """Return the segment ids of all tokens of a model, with those of its CLS token in front."""
    if model.embed.cls is None:
        return segment_ids
    return jax.numpy.concatenate([segment_ids.max(axis=1, keepdims=True), segment_ids], axis=1)


def record_states(model: Any, tokens: Array, segment_ids: Array) -> dict[Site, Float[Array, "b s d"]]:
    """Return the states before the layer at every site."""
    states: dict[Site, Array] = {}

    def at_site(site: Site, u: Array) -> Array:
        states[site] = u
        return u

    last_states(model, tokens, segment_ids, at_site)
    return states
