"""The language model of a LLaVA folder on a few prompts: questions of the toy world for a toy model, else English text.

Its residual stream is that of `pid.llava.forward`; the layers are run once more for growth and gradient. The loss is
the cross-entropy of the next words of the prompts.

    B batch, T tokens, N heads, K key and value heads, H head width
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.stability.trained_layers.layer_measures import (
    LayerMeasures,
    Stack,
    measure_stack,
    random_tangent,
)
from pdeformer.train import cross_entropy
from pid import llava, toyworld
from pid.llava import TokenType
from pid.llava.model.language_model import LanguageModel, apply_rope
from pid.llava.model.layers import run_layers
from pid.toyworld.vocabulary import IMAGE

TEXTS = (
    "The river rises in the mountains and flows through three countries before it reaches the sea.",
    "A residual connection adds the input of a layer to its output.",
    "In the morning the baker opens the shop, and the first customers come in from the cold.",
    "Heat flows from warm places to cold ones until all of them have the same temperature.",
    "She put the blue cup to the left of the plate and the red one to the right of it.",
    "If two trains leave the same station in opposite directions, the distance between them grows.",
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "Water boils at a lower temperature on a high mountain than at the coast.",
)
"""Prompts of a model that is no toy."""


class Prompts(NamedTuple):
    """Prompts as arrays."""

    ids: Int[np.ndarray, "b t"]
    types: Int[np.ndarray, "b t"]
    pixels: Float[np.ndarray, "b c y x"] | None
    kind: str
    """What they are, in words."""


def prompts_of(folder: Path, config: llava.LlavaConfig, rows: int) -> Prompts:
    """Return at most `rows` prompts for a model."""
    is_toy = config.text.vocab_size == len(toyworld.VOCABULARY)
    if is_toy and config.image_token == toyworld.VOCABULARY[IMAGE]:
        examples = toyworld.arrays(toyworld.generate(rows, seed=0, split="test"))
        return Prompts(
            examples.ids, examples.types, examples.pixels, "questions of the toy world with pictures"
        )
    tokenizer = llava.read_processor(folder).tokenizer
    lists = [list(tokenizer(text)["input_ids"]) for text in TEXTS[:rows]]
    ids = np.zeros((len(lists), max(map(len, lists))), np.int32)
    types = np.full(ids.shape, TokenType.PAD, np.int32)
    for row, tokens in enumerate(lists):
        ids[row, : len(tokens)], types[row, : len(tokens)] = tokens, TokenType.TEXT
        types[row, len(tokens) - 1] = TokenType.LAST
    return Prompts(ids, types, None, "English sentences without image")


def measure_folder(folder: Path, rows: int) -> tuple[Prompts, LayerMeasures]:
    """Load the model in float32, and measure its layers."""
    model = llava.load(folder, dtype=jnp.float32)
    prompts = prompts_of(folder, model.config, rows)
    output = llava.forward(model, prompts.ids, prompts.pixels, token_types=prompts.types, collect="all")
    graphdef, params = nnx.split(model.language)
    first = output.residual[0]
    del output, model
    return prompts, jax.device_get(_measure(params, first, prompts.ids, prompts.types, graphdef=graphdef))


def stack_of(language: LanguageModel, first: Array, ids: Array, types: Array) -> Stack:
    """Return the layers of a language model as a stack, whose input is the embedded prompt."""
    ids, types = jnp.asarray(ids), jnp.asarray(types)
    config, context = language.config, language.attention_context(types, 0)
    mask = context.mask(jnp.asarray(llava.knockout_mask((), config.num_layers))[0])

    def scan(layer: Any, carry: Any, *inputs: Any) -> tuple[Any, Any]:
        return run_layers(language.blocks, layer, carry, *inputs)

    def project(block: Any, u: Array) -> tuple[Array, Array, Array]:
        normed = block.norm_attention(u)
        query, key, value = (
            rearrange(map_(normed), "b t (n h) -> b t n h", h=config.head_dim)
            for map_ in (block.query, block.key, block.value)
        )
        copies = config.num_heads // config.num_kv_heads
        key = jnp.repeat(apply_rope(key, *context.rope), copies, axis=2)
        return apply_rope(query, *context.rope), key, value

    def loss(u: Array) -> Array:
        logits, next_types = language.logits(language.norm(u))[:, :-1], types[:, 1:]
        is_word = (
            (next_types > TokenType.PAD) & (next_types != TokenType.IMAGE) & (types[:, :-1] > TokenType.PAD)
        )
        sums = cross_entropy(logits, jnp.where(is_word, ids[:, 1:], 0), is_word.astype(jnp.float32))
        return sums.loss / jnp.maximum(sums.weight, 1)

    def step(block: Any, u: Array) -> Array:
        return block(u, mask, context.rope)[0]

    valid = (types > TokenType.PAD).astype(jnp.int32)
    return Stack(config.num_layers, first, valid, scan, step, project, loss, causal=True)


@functools.partial(jax.jit, static_argnames=("graphdef",))
def _measure(params: Any, first: Array, ids: Array, types: Array, *, graphdef: Any) -> LayerMeasures:
    stack = stack_of(nnx.merge(graphdef, params), first, ids, types)
    return measure_stack(stack, jnp.asarray(random_tangent(stack.first.shape)))
