"""The curriculum of the toy model: captions teach it what is where, then questions teach it to answer.

attributes  <image> ball red b3 green c1 ring ...           after a shape its color, after a color its cell, after a
            cell its shape; once around for every thing, starting with any of the three
relations   <image> ball side ring left box row ball ...    of two shapes which is left or right, or above or below
answers     <image> is the ball red or blue ?               the six tasks, at the last token

Answers alone do not teach it: they train one word in 27 tokens, which needs two look-ups, and after 110 000 examples
this model only names things that are somewhere in the image. A caption of attributes has eight look-ups, each from the
word before it, and the model learns them within 50 000 examples. Answers follow within 200 000, except for ChooseRel,
which stays at chance without captions of relations. LLaVA starts the same way: captions align image and words first.
[Liu et al. 2023]

B batch, T tokens, V vocabulary
"""

from collections.abc import Iterable, Sequence
from itertools import permutations
from random import Random
from typing import Any

import jax.numpy as jnp
import numpy as np

from pdeformer import train
from pid import llava, toyworld
from pid.llava import TokenType
from pid.llava.preprocessing.device_inputs import WORD
from pid.toyworld import VOCABULARY, Example, LeakRates, Scene
from pid.toyworld.scenes import relations
from pid.toyworld.toy_encoding import IMAGE_TOKENS
from pid.toyworld.truth import World
from pid.toyworld.vocabulary import CELLS, SIDES

Batch = dict[str, np.ndarray]
"""ids, types and targets (B, T), pixels (B, 3, side, side). A target is the word that follows a token."""

NOTHING = -1
"""The target of a token that does not count."""
CORNERS: World = dict.fromkeys(toyworld.TASKS, LeakRates(0.25, 0.25))
"""The world of the answers. Words tell the answer in a quarter of the cases, and so do images: every corner occurs."""


def attribute_captions(random: Random, scene: Scene) -> list[str]:
    """Return the things in random order, each as shape, color and cell, starting with any of the three."""
    words = []
    for thing in random.sample(scene, len(scene)):
        attributes, first = [thing.shape, thing.color, CELLS[thing.cell]], random.randrange(3)
        words += attributes[first:] + attributes[:first]
    return words


def relation_captions(random: Random, scene: Scene) -> list[str]:
    """Return three pairs of things: first shape, side or row, second shape, and where the first is from there."""
    triples = [(one, two, name) for one, two in permutations(scene, 2) for name in relations(one, two)]
    words = []
    for one, two, name in random.choices(triples, k=3):
        words += [one.shape, "side" if name in SIDES else "row", two.shape, name]
    return words


KINDS = ((attribute_captions, (0, 1, 3, 4, 6, 7, 9, 10)), (relation_captions, (2, 6, 10)))
"""The kinds of captions, and the positions of the words that have a target."""


def captions(count: int, *, seed: int, kinds: Sequence[Any] = KINDS) -> Batch:
    """Return captions of training scenes in which every shape and every color occurs once, all kinds equally often.

    Targets are only words that follow from the words before: two of three attributes, and relations. A caption has one
    word more than the longest prompt has places behind the image: the last word is a target only.
    """
    random, examples = (
        Random(f"captions {seed}"),
        list(toyworld.generate(count, seed=seed, world=toyworld.NAMING)),
    )
    arrays, targets = toyworld.arrays(examples), np.full((count, toyworld.LENGTH), NOTHING, np.int32)
    for index, example in enumerate(examples):
        kind, places = random.choice(kinds)
        words = np.array([VOCABULARY[word] for word in kind(random, example.scene)], np.int32)
        at = list(places)
        arrays.ids[index, IMAGE_TOKENS:] = words[:-1]
        targets[index, IMAGE_TOKENS:][at] = words[1:][at]
    arrays.types[:, IMAGE_TOKENS:] = TokenType.TEXT
    return {"ids": arrays.ids, "types": arrays.types, "pixels": arrays.pixels, "targets": targets}


def answers(examples: Sequence[Example]) -> Batch:
    """Return questions whose target is the answer, at the last token."""
    arrays = toyworld.arrays(examples)
    targets = np.where(arrays.types == TokenType.LAST, arrays.answers[:, None], NOTHING).astype(np.int32)
    return {"ids": arrays.ids, "types": arrays.types, "pixels": arrays.pixels, "targets": targets}


def in_batches(examples: Iterable[Example], size: int) -> Iterable[Batch]:
    """Yield the examples in batches of one size. Examples that fill up the last batch have no target."""
    rows = list(examples)
    for start in range(0, len(rows), size):
        batch = answers((rows[start : start + size] * size)[:size])
        batch["targets"][len(rows) - start :] = NOTHING
        yield batch


def logits(model: llava.Llava, batch: Any) -> Any:
    """Return the logits (B, T, V) of a batch. The function is traced."""
    ids, types = batch["ids"], batch["types"]
    rows = jnp.where(types == TokenType.IMAGE, jnp.arange(ids.shape[1])[None], WORD)
    block = llava.knockout_mask((), model.config.text.num_layers)
    inputs = llava.DeviceInputs(ids, types, rows, batch["pixels"][:, None], jnp.asarray(block))
    return model(inputs, collect="logits").logits


def loss(model: llava.Llava, batch: Any, key: Any = None) -> train.Sums:
    """Return the cross-entropy of all targets, as a loss function of `pdeformer.train`."""
    del key
    targets = batch["targets"]
    weights = (targets != NOTHING).astype(jnp.float32)
    return train.cross_entropy(logits(model, batch), jnp.maximum(targets, 0), weights)
