"""Run many conditions at little more than the cost of one, with the tokens before the question run once.

Attention is causal. The tokens up to the last image token, the prefix, are therefore not affected by knockouts of
later queries. Phase A runs the prefix and returns its keys and values. Phase B runs the other tokens, the suffix, for
every condition; all conditions share these keys and values. Below its first knockout layer a condition equals the
baseline, so it is run only from that layer on:

    run without sharing     C·L·(P + S) tokens through a layer
    shared prefix           L·P + (L + Σ layers from the first knockout on)·S

This is exact if no condition removes an attention edge of a prefix query. The knockout masks are data, so other windows
run the same compiled program.

B batch, T = P + S tokens of prefix and suffix, D channels, L layers, C conditions, Q of them with states returned,
G groups, V vocabulary, O options, Y token types
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from pid.llava.model.language_model import (
    AttentionContext,
    Block,
    KVCache,
    LanguageModel,
    group_weights,
    pool_raw_and_normalized,
    prepend,
)
from pid.llava.model.layers import run_layers
from pid.llava.preprocessing.device_inputs import DeviceInputs

ROUNDS = 8  # largest number of steps in which a layer runs all conditions


class PooledStates(NamedTuple):
    """Pooled states and the last token's logits under each condition, float32."""

    residual: Float[Array, "c p b g d"]
    """The means of the residual stream over each group (C, L+1, B, G, D)."""
    normalized: Float[Array, "c p b g d"]
    """The same with each token divided by its root mean square (C, L+1, B, G, D)."""
    logits: Float[Array, "c b v"]
    """The logits of the last token (C, B, V)."""


class Measurement(NamedTuple):
    """The results of a batch: states of some conditions, and answers of all, the baseline first."""

    residual: Float[Array, "q p b g d"]
    """The means of the residual stream over each group (Q, L+1, B, G, D)."""
    normalized: Float[Array, "q p b g d"]
    """The same with each token divided by its root mean square (Q, L+1, B, G, D)."""
    greedy: Int[Array, "c b"]
    """The most likely next token (C, B)."""
    probability: Float[Array, "c b"]
    """The probability of the baseline's most likely token (C, B)."""
    logits: Float[Array, "c b o"]
    """The logits of the options (C, B, O)."""


def first_knockout_layer(masks: Bool[Array, "c l one y y"]) -> Int[Array, "c"]:
    """The first layer in which each knockout mask removes anything; L if there is none."""
    any_edge = jnp.any(masks, axis=(2, 3, 4))
    return jnp.where(jnp.any(any_edge, axis=1), jnp.argmax(any_edge, axis=1), masks.shape[1])


def run_with_shared_prefix(
    language: LanguageModel,
    u: Float[Array, "b t d"],
    types: Int[Array, "b t"],
    masks: Bool[Array, "c l one y y"],
    *,
    prefix: int,
    groups: tuple[int, ...],
) -> PooledStates:
    """Run embeddings u under each knockout mask, the first `prefix` tokens only once.

    The mean over a group with tokens in prefix and suffix is the sum of their two contributions. The caller ensures
    that no mask removes an edge of a prefix query, and that the last token that is not padding lies in the suffix.
    """
    weights, eps = group_weights(types, groups), language.config.norm_eps
    prefix_output = language.run_segment(
        u[:, :prefix],
        types[:, :prefix],
        jnp.zeros_like(masks[0]),
        lambda u: pool_raw_and_normalized(weights[..., :prefix], u, eps),
        return_cache=True,
    )
    last, suffix_records = _run_suffixes(
        language,
        u[:, prefix:],
        language.attention_context(types, prefix),
        masks,
        prefix_output.cache,
        lambda u: pool_raw_and_normalized(weights[..., prefix:], u, eps),
    )
    residual, normalized = jax.tree.map(
        lambda a, c: jnp.moveaxis(a[:, None] + c, 1, 0), prefix_output.records, suffix_records
    )
    logits = jax.vmap(lambda u: language.last_token_logits(language.norm(u), types[:, prefix:]))(last)
    return PooledStates(residual, normalized, logits)


def _run_suffixes(
    language: LanguageModel,
    u: Float[Array, "b s d"],
    context: AttentionContext,
    masks: Bool[Array, "c l one y y"],
    cache: KVCache | None,
    record: Callable[[Array], Any],
) -> tuple[Float[Array, "c b s d"], Any]:
    """Run the suffix after `cache` under each knockout mask; return its last states and records (L+1, C, …).

    The first run has no knockout. The conditions follow in the order of their first knockout layer. A layer runs and
    records, a few at a time, the conditions whose first knockout layer it has reached. States and records of the other
    conditions equal those of the first run.
    """
    first = first_knockout_layer(masks)
    order = jnp.argsort(first)
    chunk = -(-(1 + len(masks)) // ROUNDS)
    filler = -(1 + len(masks)) % chunk
    start_layers = jnp.pad(first[order], (1, filler), constant_values=((0, masks.shape[1]),))
    layer_masks = jnp.moveaxis(jnp.pad(masks[order], [(1, filler)] + [(0, 0)] * 4), 1, 0)

    def layer(
        block: Block, states: Array, number: Array, layer_mask: Array, cache: KVCache
    ) -> tuple[Array, Any]:
        baseline = states[:1]

        def run_chunk(index: Array, arrays: tuple[Array, Any]) -> tuple[Array, Any]:
            states, starts, masks = (
                jax.lax.dynamic_slice_in_dim(x, index * chunk, chunk)
                for x in (arrays[0], start_layers, layer_mask)
            )
            inputs = jnp.where(starts[:, None, None, None] < number, states, baseline)
            outputs = jax.vmap(lambda u, mask: block(u, context.mask(mask), context.rope, (cache,))[0])(
                inputs, masks
            )
            return jax.tree.map(
                lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, index * chunk, 0),
                arrays,
                (outputs, jax.vmap(record)(outputs)),
            )

        rounds = -(-jnp.sum(start_layers <= number) // chunk)
        shapes = jax.eval_shape(jax.vmap(record), states)
        records = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.fori_loop(0, rounds, run_chunk, (states, records))

    points = jnp.arange(1 + masks.shape[1])
    states = jnp.broadcast_to(u, (len(start_layers), *u.shape))
    states, later = run_layers(language.blocks, layer, states, points[:-1], layer_masks, cache)
    earlier = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(states), *x.shape)), record(u))
    place = 1 + jnp.argsort(order)
    last = jnp.where((first < len(masks[0]))[:, None, None, None], states[place], states[:1])
    has_begun = (first[None] < points[:, None])[..., None, None, None]
    return last, jax.tree.map(lambda x: jnp.where(has_begun, x[:, place], x[:, :1]), prepend(earlier, later))


def run_without_sharing(
    language: LanguageModel,
    u: Float[Array, "b t d"],
    types: Int[Array, "b t"],
    masks: Bool[Array, "c l one y y"],
    *,
    groups: tuple[int, ...],
) -> PooledStates:
    """Run all tokens under each knockout mask, one mask after another. This is exact for every mask."""

    def run(mask: Array) -> PooledStates:
        output = language(u, types, mask, collect="pooled", groups=groups)
        return PooledStates(output.residual, output.normalized, output.logits)

    return jax.lax.map(run, masks)


@partial(jax.jit, static_argnames=("graphdef", "prefix", "groups"))
def measure(
    graphdef: Any,
    params: Any,
    inputs: DeviceInputs,
    masks_with_sharing: Bool[Array, "a l one y y"],
    masks_without_sharing: Bool[Array, "b l one y y"],
    order: Int[Array, "c"],
    states_of: Int[Array, "q"],
    options: Int[Array, "o"],
    *,
    prefix: int,
    groups: tuple[int, ...],
) -> Measurement:
    """Run a LLaVA on a batch under all conditions, with a shared prefix where a condition allows it.

    `order` permutes the conditions with sharing, then those without, into the order of the result. The first condition
    of the result is the baseline. The result has the states of the conditions at `states_of`. There is one compiled
    program per shape of the batch and number of masks of either kind.
    """
    model = nnx.merge(graphdef, params)
    u, types = model.embed(inputs), jnp.asarray(inputs.types)
    pooled = []
    if len(masks_with_sharing):
        pooled.append(
            run_with_shared_prefix(model.language, u, types, masks_with_sharing, prefix=prefix, groups=groups)
        )
    if len(masks_without_sharing):
        pooled.append(run_without_sharing(model.language, u, types, masks_without_sharing, groups=groups))
    states = jax.tree.map(lambda *x: jnp.concatenate(x)[order], *pooled)
    greedy = jnp.argmax(states.logits, axis=-1).astype(jnp.int32)
    probabilities = jax.nn.softmax(states.logits, axis=-1)
    probability = jnp.take_along_axis(probabilities, greedy[:1, :, None], axis=-1)[..., 0]
    states_by_kind = states.residual[states_of], states.normalized[states_of]
    return Measurement(*states_by_kind, greedy, probability, states.logits[..., options])
