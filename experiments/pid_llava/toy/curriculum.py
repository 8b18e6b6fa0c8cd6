"""What the toy model is taught: first what is where, then to answer.

looks       <image> ball red b3 green c1 ring ...           after a shape its colour, after a colour its cell, after a
            cell its shape; once around for every thing, beginning with any of the three
relations   <image> ball side ring left box row ball ...    of two shapes which is left or right, or above or below
answers     <image> is the ball red or blue ?               the six tasks, at the last token

Answers alone do not teach it: one word in 27 tokens, two look-ups behind each other, and after 110 000 examples this
model still only says what is somewhere in the picture. A caption of looks has eight look-ups, each from the word just
before, and is learnt within 50 000; answers follow within 200 000, but for ChooseRel, which stays at chance without
captions of relations. LLaVA begins so too: captions bring image and words together first. [Liu et al. 2023]

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
"""ids, types and targets (B, T), pixels (B, 3, side, side); a target is the word to say at a token."""

NOTHING = -1
"""The target where nothing is to be said."""
CORNERS: World = dict.fromkeys(toyworld.TASKS, LeakRates(0.25, 0.25))
"""The world of the answers: words tell in a quarter of the cases and images show in a quarter, so that every corner of
the dials occurs."""


def looks(random: Random, scene: Scene) -> list[str]:
    """The things in random order, each as shape, colour and cell from any of the three once around."""
    words = []
    for thing in random.sample(scene, len(scene)):
        look, first = [thing.shape, thing.color, CELLS[thing.cell]], random.randrange(3)
        words += look[first:] + look[:first]
    return words


def related(random: Random, scene: Scene) -> list[str]:
    """Three pairs of things: the one's shape, side or row, the other's shape, and where the one is from there."""
    found = [(one, two, name) for one, two in permutations(scene, 2) for name in relations(one, two)]
    words = []
    for one, two, name in random.choices(found, k=3):
        words += [one.shape, "side" if name in SIDES else "row", two.shape, name]
    return words


KINDS = ((looks, (0, 1, 3, 4, 6, 7, 9, 10)), (related, (2, 6, 10)))
"""The kinds of captions, and behind which of their words something is to be said."""


def captions(count: int, *, seed: int, kinds: Sequence[Any] = KINDS) -> Batch:
    """Captions of training scenes in which every shape and every colour occurs once, of all kinds equally often.

    Only what follows from the words before is to be said: two of three looks, and relations. A caption has one word
    more than the longest prompt has places behind the image: the last word is a target only.
    """
    random, examples = (
        Random(f"captions {seed}"),
        list(toyworld.generate(count, seed=seed, world=toyworld.NAMING)),
    )
    drawn, targets = toyworld.arrays(examples), np.full((count, toyworld.LENGTH), NOTHING, np.int32)
    for index, example in enumerate(examples):
        kind, places = random.choice(kinds)
        words, said = [VOCABULARY[word] for word in kind(random, example.scene)], list(places)
        words = np.array(words, np.int32)
        drawn.ids[index, IMAGE_TOKENS:] = words[:-1]
        targets[index, IMAGE_TOKENS:][said] = words[1:][said]
    drawn.types[:, IMAGE_TOKENS:] = TokenType.TEXT
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
    rows = jnp.where(types == TokenType.IMAGE, jnp.arange(ids.shape[1])[None], WORD)
    block = llava.knockout_mask((), model.config.text.num_layers)
    inputs = llava.DeviceInputs(ids, types, rows, batch["pixels"][:, None], jnp.asarray(block))
    return model(inputs, collect="logits").logits


def loss(model: llava.Llava, batch: Any, key: Any = None) -> train.Sums:
    """Cross-entropy of all words that are to be said, in the manner of `pdeformer.train`."""
    del key
    targets = batch["targets"]
    weights = (targets != NOTHING).astype(jnp.float32)
    return train.cross_entropy(logits(model, batch), jnp.maximum(targets, 0), weights)
