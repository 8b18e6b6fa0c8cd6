"""What the toy model is taught: first what is where, then to answer.

captions    <image> ball red b3 green c1 ring ...    after a shape its colour, after a colour its cell, after a cell its
            shape; once around for every thing, beginning with any of the three
answers     <image> is the ball red or blue ?        the six tasks and the three that name, at the last token

Answers alone do not teach it: one word in 27 tokens, two look-ups behind each other, and after 110 000 examples this
model still only says what is somewhere in the picture. A caption has eight look-ups, each from the word just before,
and is learnt within 50 000. LLaVA itself begins so: captions bring image and words together. [Liu et al. 2023]

B batch, T tokens, V vocabulary
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import jax.numpy as jnp
import numpy as np

from pdeformer import train
from pid import llava, toyworld
from pid.llava import TokenType
from pid.toyworld import VOCABULARY, Dials, Example, Scene
from pid.toyworld.encoding import IMAGE_TOKENS
from pid.toyworld.words import CELLS

Batch = dict[str, np.ndarray]
"""ids, types and targets (B, T), pixels (B, 3, side, side); a target is the word to say at a token."""

NOTHING = -1
"""The target where nothing is to be said."""
EVERYTHING = dict.fromkeys(toyworld.TASKS, Dials(0.25, 0.25)) | dict(toyworld.NAMING)
"""The world of the answers: words tell in a quarter of the cases and images show in a quarter, so that every corner of
the dials occurs."""


def caption(random: Random, scene: Scene) -> list[str]:
    """The things in random order, each as shape, colour and cell from any of the three once around."""
    words = []
    for thing in random.sample(scene, len(scene)):
        looks, first = [thing.shape, thing.color, CELLS[thing.cell]], random.randrange(3)
        words += looks[first:] + looks[:first]
    return words


def captions(count: int, *, seed: int) -> Batch:
    """Captions of training scenes in which every shape and every colour occurs once.

    Nothing is to be said where a thing ends, for which comes next is not known. The caption has one word more than the
    longest prompt has places behind the image: the last word is a target only.
    """
    random, examples = (
        Random(f"captions {seed}"),
        list(toyworld.generate(count, seed=seed, world=toyworld.NAMING)),
    )
    words = np.array([[VOCABULARY[word] for word in caption(random, e.scene)] for e in examples], np.int32)
    drawn, targets = toyworld.arrays(examples), np.full((count, toyworld.LENGTH), NOTHING, np.int32)
    drawn.ids[:, IMAGE_TOKENS:], drawn.types[:, IMAGE_TOKENS:] = words[:, :-1], TokenType.TEXT
    targets[:, IMAGE_TOKENS:] = words[:, 1:]
    targets[:, IMAGE_TOKENS + 2 :: 3] = NOTHING
    return {"ids": drawn.ids, "types": drawn.types, "pixels": drawn.pixels, "targets": targets}


def answers(examples: Sequence[Example]) -> Batch:
    """Questions, the answer to be said at the last token."""
    drawn = toyworld.arrays(examples)
    targets = np.where(drawn.types == TokenType.LAST, drawn.answers[:, None], NOTHING).astype(np.int32)
    return {"ids": drawn.ids, "types": drawn.types, "pixels": drawn.pixels, "targets": targets}


def in_batches(examples: Iterable[Example], size: int) -> Iterable[Batch]:
    """The examples as batches of one size; those that fill up the last one have no target."""
    rows = list(examples)
    for start in range(0, len(rows), size):
        batch = answers((rows[start : start + size] * size)[:size])
        batch["targets"][len(rows) - start :] = NOTHING
        yield batch


def logits(model: llava.Llava, batch: Any) -> Any:
    """The logits (B, T, V) of a batch, to be traced."""
    ids, types = batch["ids"], batch["types"]
    rows = jnp.where(types == TokenType.IMAGE, jnp.arange(ids.shape[1])[None], llava.inputs.WORD)
    block = llava.block_table((), model.config.text.layers)
    inputs = llava.Inputs(ids, types, rows, batch["pixels"][:, None], jnp.asarray(block))
    return model(inputs, collect="logits").logits


def loss(model: llava.Llava, batch: Any, key: Any = None) -> train.Sums:
    """Cross-entropy of all words that are to be said, in the manner of `pdeformer.train`."""
    del key
    targets = batch["targets"]
    return train.cross_entropy(logits(model, batch), jnp.maximum(targets, 0), targets != NOTHING)
