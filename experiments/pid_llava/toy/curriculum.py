"""The curriculum of the toy model: captions teach attributes and relations of things, then questions teach answers.

attributes  <image> ball red b3 green c1 ring ...           for every thing its shape, color and cell in cyclic order,
            starting with any of the three
relations   <image> ball side ring left box row ball ...    for two shapes whether one is left or right, above or below
answers     <image> is the ball red or blue ?               the six tasks, at the last token

Answers alone do not suffice: they train one word in 27 tokens, which needs two look-ups, and after 110 000 examples
this model only names things that are somewhere in the image. A caption of attributes has eight look-ups, each from the
previous word, and the model learns them within 50 000 examples. It learns the answers within 200 000 more, except for
ChooseRel, which stays at chance without captions of relations. The training of LLaVA also starts with captions, which
align image and words. [Liu et al. 2023]

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

NO_TARGET = -1
"""The target of a token that does not count in the loss."""
CORNERS: World = dict.fromkeys(toyworld.TASKS, LeakRates(0.25, 0.25))
"""The world of the answers. Words determine the answer in a quarter of the cases, and so do images, so that every
corner occurs."""


def attribute_captions(random: Random, scene: Scene) -> list[str]:
    """Return the things in random order, each as shape, color and cell, starting with any of the three."""
    words = []
    for thing in random.sample(scene, len(scene)):
        attributes, first = [thing.shape, thing.color, CELLS[thing.cell]], random.randrange(3)
        words += attributes[first:] + attributes[:first]
    return words


def relation_captions(random: Random, scene: Scene) -> list[str]:
    """Return three pairs of things: first shape, "side" or "row", second shape, relation of the first to the second."""
    triples = [(a, b, relation) for a, b in permutations(scene, 2) for relation in relations(a, b)]
    words = []
    for a, b, relation in random.choices(triples, k=3):
        words += [a.shape, "side" if relation in SIDES else "row", b.shape, relation]
    return words


KINDS = ((attribute_captions, (0, 1, 3, 4, 6, 7, 9, 10)), (relation_captions, (2, 6, 10)))
"""The kinds of captions, and the positions of the words that have a target."""


def captions(count: int, *, seed: int, kinds: Sequence[Any] = KINDS) -> Batch:
    """Return captions of training scenes in which every shape and every color occurs once, all kinds equally often.

    Only words that follow from the previous words are targets: two of three attributes, and relations. A caption has
    one word more than the longest prompt has tokens after the image, so its last word is only a target.
    """
    random, examples = (
        Random(f"captions {seed}"),
        list(toyworld.generate(count, seed=seed, world=toyworld.NAMING)),
    )
    arrays, targets = toyworld.arrays(examples), np.full((count, toyworld.LENGTH), NO_TARGET, np.int32)
    for index, example in enumerate(examples):
        caption, positions = random.choice(kinds)
        words = np.array([VOCABULARY[word] for word in caption(random, example.scene)], np.int32)
        positions = list(positions)
        arrays.ids[index, IMAGE_TOKENS:] = words[:-1]
        targets[index, IMAGE_TOKENS:][positions] = words[1:][positions]
    arrays.types[:, IMAGE_TOKENS:] = TokenType.TEXT
    return {"ids": arrays.ids, "types": arrays.types, "pixels": arrays.pixels, "targets": targets}


def answers(examples: Sequence[Example]) -> Batch:
    """Return questions whose target is the answer, at the last token."""
    arrays = toyworld.arrays(examples)
    targets = np.where(arrays.types == TokenType.LAST, arrays.answers[:, None], NO_TARGET).astype(np.int32)
    return {"ids": arrays.ids, "types": arrays.types, "pixels": arrays.pixels, "targets": targets}


def in_batches(examples: Iterable[Example], size: int) -> Iterable[Batch]:
    """Yield the examples in batches of one size. Examples that fill up the last batch have no target."""
    rows = list(examples)
    for start in range(0, len(rows), size):
        batch = answers((rows[start : start + size] * size)[:size])
        batch["targets"][len(rows) - start :] = NO_TARGET
        yield batch


def logits(model: llava.Llava, batch: Any) -> Any:
    """Return the logits (B, T, V) of a batch. The function may be traced."""
    ids, types = batch["ids"], batch["types"]
    rows = jnp.where(types == TokenType.IMAGE, jnp.arange(ids.shape[1])[None], WORD)
    mask = llava.knockout_mask((), model.config.text.num_layers)
    inputs = llava.DeviceInputs(ids, types, rows, batch["pixels"][:, None], jnp.asarray(mask))
    return model(inputs, collect="logits").logits


def loss(model: llava.Llava, batch: Any, key: Any = None) -> train.Sums:
    """Return the cross-entropy of all targets, as a loss function of `pdeformer.train`."""
    del key
    targets = batch["targets"]
    weights = (targets != NO_TARGET).astype(jnp.float32)
    return train.cross_entropy(logits(model, batch), jnp.maximum(targets, 0), weights)
