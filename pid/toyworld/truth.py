"""What is known beforehand about the toy world: bits, and the direction of every effect.

With Y the answer, S the scene and Q the question, λ and ν the shares of questions that tell and of scenes that show
the answer, H(Y) its entropy and o the bits that two options tell of it:

    I(Y; S) = ν·H(Y),    I(Y; Q) = o + λ·(H(Y) - o),    I(Y; S, Q) = H(Y)

From these alone follow, whatever measures the redundancy:

    unique to the image - unique to the words = I(Y; S) - I(Y; Q)
    redundancy - synergy = I(Y; S) + I(Y; Q) - H(Y)

and at the four corners, where λ and ν are 0 or 1 and o = 0, a single atom holds all of H(Y).

All this is about the inputs. Inside a model, question tokens that have read the image hold some of the scene: what
began as synergy turns into language-unique information and redundancy from layer to layer, and a knockout of
Image→Question undoes that. At most H(Y) - I(Y; Q) bits are at stake in it: what the words do not tell.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pid.toyworld.tasks import GROUNDING, TASKS


@dataclass(frozen=True)
class LeakRates:
    """How often the answer can be had from one source alone. Raises ValueError unless both are shares from 0 to 1."""

    language: float = 0.0
    """λ, the share of questions whose wording tells the answer."""
    vision: float = 0.0
    """ν, the share of scenes that show the answer whatever is asked."""

    def __post_init__(self):
        if not (0 <= self.language <= 1 and 0 <= self.vision <= 1):
            raise ValueError(
                f"a dial is a share from 0 to 1, got language={self.language}, vision={self.vision}; correct it."
            )


World = Mapping[str, LeakRates]
"""The tasks of a world, equally frequent, with their dials."""

WORLD: World = {
    "ChooseAttr": LeakRates(language=0.25, vision=0.25),
    "ChooseCat": LeakRates(language=0.5),
    "ChooseRel": LeakRates(),
    "CompareAttr": LeakRates(language=0.5, vision=0.5),
    "LogicalObj": LeakRates(language=0.75),
    "QueryAttr": LeakRates(vision=0.5),
}
"""From tasks that need the image to one whose wording mostly tells the answer, as LogicalObj does in GQA."""

NAMING: World = dict.fromkeys(GROUNDING, LeakRates())
"""The three grounding tasks."""


class Truth(NamedTuple):
    """What image and words tell about the answer of a task, in bits."""

    answer: float
    """H(Y), which both together tell."""
    vision: float
    """I(Y; S), what the scene alone tells."""
    language: float
    """I(Y; Q), what the question alone tells."""

    @property
    def unique_gap(self) -> float:
        """Unique to the image less unique to the words, by every measure of redundancy."""
        return self.vision - self.language

    @property
    def redundancy_gap(self) -> float:
        """Redundancy less synergy, by every measure of redundancy."""
        return self.vision + self.language - self.answer

    @property
    def at_stake(self) -> float:
        """I(Y; S | Q), the most that a knockout of the image can take away."""
        return self.answer - self.language


def truth(task: str, dials: LeakRates) -> Truth:
    """The bits of one of the six tasks.

    Raises ValueError for another task.
    """
    if task not in TASKS:
        raise ValueError(f"bits are known for {', '.join(TASKS)}, got {task!r}.")
    entropy, options = math.log2(len(TASKS[task].answers)), TASKS[task].options
    return Truth(entropy, dials.vision * entropy, options + dials.language * (entropy - options))


Atom = Literal["redundancy", "unique_x", "unique_y", "synergy"]
"""By the names of `PID`; x is the image, y are the words."""


@dataclass(frozen=True)
class Expected:
    """What a later measurement must find at one corner of the dials."""

    dials: LeakRates
    """The corner."""
    atom: Atom
    """The atom of (answer; scene, question) that holds all bits in CompareAttr, LogicalObj and QueryAttr."""
    knockout: Literal["falls", "stays"] | None
    """What the probability of the right answer does under Image→Question in all layers; None is not known."""
    reason: str
    """Why."""


EXPECTED = {
    "both needed": Expected(
        LeakRates(language=0.0, vision=0.0),
        "synergy",
        "falls",
        "The question says where to look and the image what is there. Last may still read both by itself, so how far "
        "it falls depends on the model.",
    ),
    "words suffice": Expected(
        LeakRates(language=1.0, vision=0.0),
        "unique_y",
        "stays",
        "The wording tells the answer and the scene has questions for every answer.",
    ),
    "image suffices": Expected(
        LeakRates(language=0.0, vision=1.0),
        "unique_x",
        None,
        "The scene has one answer whatever is asked. Whether Last reads it or the question passes it on is the model's "
        "choice.",
    ),
    "either suffices": Expected(
        LeakRates(language=1.0, vision=1.0),
        "redundancy",
        "stays",
        "Wording and scene tell the same; the question tokens need no image to have it.",
    ),
}
"""The four corners by name. The knockout assumes a trained model and a prompt in which no token but those of the
question and the last stands behind the image, as that of the toy world."""
