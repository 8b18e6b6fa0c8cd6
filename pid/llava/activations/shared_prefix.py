"""Many conditions for the price of little more than one: the tokens before the question are run once.

Attention is causal, so the tokens up to the image's last, the prefix, do not feel what is cut for later ones. Phase A
runs them and keeps their keys and values; phase B runs the rest, the suffix, for every condition, with those keys and
values in common. Below its first cut a condition is the baseline, and is not run either:

    full run      C·L·(P + S) tokens through a layer
    two phases    L·P + (L + Σ layers from the first cut on)·S

Exact wherever no query of the prefix is cut. Which edges are cut is data: other windows run the same program.

B batch, T = P + S tokens of prefix and suffix, D channels, L layers, C conditions, Q of them with states kept,
G groups, V vocabulary, O options, Y token types
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from pid.llava.model.language_model import Block, Language, Past, Surroundings, group_weights, pooled, prepend
from pid.llava.preprocessing.device_inputs import Inputs

ROUNDS = 8  # in at most so many a layer runs all conditions


class Pooled(NamedTuple):
    """Pooled states and the last token's logits under each condition, float32."""

    residual: Float[Array, "c p b g d"]
    """The means of the residual stream over each group (C, L+1, B, G, D)."""
    normalised: Float[Array, "c p b g d"]
    """The same of tokens each divided by its root mean square (C, L+1, B, G, D)."""
    logits: Float[Array, "c b v"]
    """The logits of the last token (C, B, V)."""


class Measured(NamedTuple):
    """What is kept of a batch: states of some conditions, the answer under all of them, the baseline first."""

    residual: Float[Array, "q p b g d"]
    """The means of the residual stream over each group (Q, L+1, B, G, D)."""
    normalised: Float[Array, "q p b g d"]
    """The same of tokens each divided by its root mean square (Q, L+1, B, G, D)."""
    greedy: Int[Array, "c b"]
    """The likeliest next token (C, B)."""
    probability: Float[Array, "c b"]
    """The probability of the baseline's likeliest token (C, B)."""
    logits: Float[Array, "c b o"]
    """The logits of the options (C, B, O)."""


def first_cut(blocks: Bool[Array, "c l one y y"]) -> Int[Array, "c"]:
    """The first layer in which each table cuts anything; L if none does."""
    cut = jnp.any(blocks, axis=(2, 3, 4))
    return jnp.where(jnp.any(cut, axis=1), jnp.argmax(cut, axis=1), blocks.shape[1])


def two_phase(
    language: Language,
    u: Float[Array, "b t d"],
    types: Int[Array, "b t"],
    blocks: Bool[Array, "c l one y y"],
    *,
    prefix: int,
    groups: tuple[int, ...],
) -> Pooled:
    """Embeddings u under each table of cut edges, the first `prefix` tokens run once.

    A group with tokens in both parts has the sum of two shares as its mean. No table may cut a query of the prefix,
    and the last token that is no padding lies in the suffix; the caller sees to both.
    """
    weights, eps = group_weights(types, groups), language.config.eps
    before = language.span(
        u[:, :prefix],
        types[:, :prefix],
        jnp.zeros_like(blocks[0]),
        lambda u: pooled(weights[..., :prefix], u, eps),
        keep=True,
    )
    last, after = _suffixes(
        language,
        u[:, prefix:],
        language.surroundings(types, prefix),
        blocks,
        before.past,
        lambda u: pooled(weights[..., prefix:], u, eps),
    )
    residual, normalised = jax.tree.map(
        lambda a, c: jnp.moveaxis(a[:, None] + c, 1, 0), before.records, after
    )
    logits = jax.vmap(lambda u: language.answer(language.norm(u), types[:, prefix:]))(last)
    return Pooled(residual, normalised, logits)


def _suffixes(
    language: Language,
    u: Float[Array, "b s d"],
    around: Surroundings,
    blocks: Bool[Array, "c l one y y"],
    past: Past | None,
    record: Callable[[Array], Any],
) -> tuple[Float[Array, "c b s d"], Any]:
    """The suffix behind `past` under each table: its states after the last layer, and records (L+1, C, …).

    One run without cuts leads the conditions, which follow in the order of their first cuts. A layer runs those that
    have begun, a few at a time; the others are where the leading one is.
    """
    first = first_cut(blocks)
    order = jnp.argsort(first)
    few = -(-(1 + len(blocks)) // ROUNDS)
    spare = -(1 + len(blocks)) % few
    begins = jnp.pad(first[order], (1, spare), constant_values=((0, blocks.shape[1]),))
    tables = jnp.moveaxis(jnp.pad(blocks[order], [(1, spare)] + [(0, 0)] * 4), 1, 0)

    def layer(run: Block, states: Array, at: Array, tables: Array, past: Past) -> tuple[Array, Any]:
        begun = begins <= at

        def go(turn: Array, states: Array) -> Array:
            some, cuts = (jax.lax.dynamic_slice_in_dim(x, turn * few, few) for x in (states, tables))
            after = jax.vmap(lambda u, cut: run(u, around.edges(cut), around.turn, (past,))[0])(some, cuts)
            return jax.lax.dynamic_update_slice_in_dim(states, after, turn * few, 0)

        states = jax.lax.fori_loop(0, -(-jnp.sum(begun) // few), go, states)
        states = jnp.where(begun[:, None, None, None], states, states[:1])
        return states, jax.vmap(record)(states)

    states = jnp.broadcast_to(u, (len(begins), *u.shape))
    states, later = language.scan(layer, states, jnp.arange(blocks.shape[1]), tables, past)
    records = prepend(jax.vmap(record)(jnp.broadcast_to(u, states.shape)), later)
    back = 1 + jnp.argsort(order)
    return states[back], jax.tree.map(lambda x: x[:, back], records)


def in_full(
    language: Language,
    u: Float[Array, "b t d"],
    types: Int[Array, "b t"],
    blocks: Bool[Array, "c l one y y"],
    *,
    groups: tuple[int, ...],
) -> Pooled:
    """The same by a run of all tokens for each table, one after another: true whatever is cut."""

    def run(block: Array) -> Pooled:
        output = language(u, types, block, collect="pooled", groups=groups)
        return Pooled(output.residual, output.normalised, output.logits)

    return jax.lax.map(run, blocks)


@partial(jax.jit, static_argnames=("graphdef", "prefix", "groups"))
def measure(
    graphdef: Any,
    params: Any,
    inputs: Inputs,
    shared: Bool[Array, "a l one y y"],
    full: Bool[Array, "b l one y y"],
    order: Int[Array, "c"],
    kept: Int[Array, "q"],
    options: Int[Array, "o"],
    *,
    prefix: int,
    groups: tuple[int, ...],
) -> Measured:
    """A LLaVA on a batch: tables `shared` in two phases, tables `full` in full, then all of them in `order`.

    The first of that order is the baseline; states are returned of those at `kept`.
    One program per shape of the batch and number of tables of either kind.
    """
    model = nnx.merge(graphdef, params)
    u, types = model.embed(inputs), jnp.asarray(inputs.types)
    parts = []
    if len(shared):
        parts.append(two_phase(model.language, u, types, shared, prefix=prefix, groups=groups))
    if len(full):
        parts.append(in_full(model.language, u, types, full, groups=groups))
    found = jax.tree.map(lambda *x: jnp.concatenate(x)[order], *parts)
    greedy = jnp.argmax(found.logits, axis=-1).astype(jnp.int32)
    probability = jax.nn.softmax(found.logits, axis=-1)
    of_base = jnp.take_along_axis(probability, greedy[:1, :, None], axis=-1)[..., 0]
    states = found.residual[kept], found.normalised[kept]
    return Measured(*states, greedy, of_base, found.logits[..., options])
