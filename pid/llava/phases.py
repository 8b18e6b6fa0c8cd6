"""Many conditions for the price of little more than one: the tokens before the question are run once.

Attention is causal, so the tokens up to the image's last, the prefix, do not feel what is cut for later ones. Phase A
runs them and keeps their keys and values; phase B runs the rest, the suffix, for every condition, with those keys and
values in common:

    full run      C·(P + S) tokens through all layers
    two phases    P + C·S

Exact wherever no query of the prefix is cut. Which edges are cut is data: other windows run the same program.
(Below the first layer of a window the suffix is the baseline's too. Leaving those layers out would save up to half of
phase B, but its length would then depend on the window, and with it the program.)

B batch, T = P + S tokens of prefix and suffix, D channels, L layers, C conditions, Q of them with states kept,
G groups, V vocabulary, O options, Y token types
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from pid.llava.inputs import Inputs
from pid.llava.language import Language, group_weights, pooled


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

    def rest(block: Array) -> Pooled:
        after = language.span(
            u[:, prefix:], types, block, lambda u: pooled(weights[..., prefix:], u, eps), past=before.past
        )
        residual, normalised = jax.tree.map(jnp.add, before.records, after.records)
        return Pooled(residual, normalised, language.answer(language.norm(after.last), types[:, prefix:]))

    return jax.vmap(rest)(blocks)


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
