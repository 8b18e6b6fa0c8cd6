"""Known information of the toy world in bits, and the direction of every effect.

Let Y be the answer, S the scene, Q the question, λ and ν the shares of questions and of scenes that reveal the answer,
H(Y) its entropy, and o the bits about it in the two options of a question. Then

    I(Y; S) = ν·H(Y),    I(Y; Q) = o + λ·(H(Y) - o),    I(Y; S, Q) = H(Y)

From these follow, for every measure of redundancy:

    unique to the image - unique to the words = I(Y; S) - I(Y; Q)
    redundancy - synergy = I(Y; S) + I(Y; Q) - H(Y)

and at the four corners, where λ and ν are 0 or 1 and o = 0, a single atom holds all of H(Y).

These are statements about the inputs. Inside a model, question tokens that have read the image carry information about
the scene: synergy of the inputs turns into language-unique information and redundancy from layer to layer, and a
knockout of Image→Question prevents that. It can remove at most the H(Y) - I(Y; Q) bits that the words do not have.
"""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pid.interface.deprecation import accept_former_fields, accept_former_keyword
from pid.toyworld.tasks import GROUNDING, TASKS


@dataclass(frozen=True)
class LeakRates:
    """Shares of the examples in which one source alone reveals the answer.

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> from pid import toyworld
        >>> toyworld.LeakRates(language=0.5)
        LeakRates(language=0.5, vision=0.0)
    """

    language: float = 0.0
    """λ, the share of questions whose wording reveals the answer; 0 to 1."""

    vision: float = 0.0
    """ν, the share of scenes that reveal the answer, whatever the question is; 0 to 1."""

    def __post_init__(self) -> None:
        """Check the range of both shares."""
        rates = (self.language, self.vision)
        if not all(isinstance(rate, numbers.Real) and 0 <= rate <= 1 for rate in rates):
            raise ValueError(
                f"a leak rate is a share from 0 to 1, got language={self.language!r}, "
                f"vision={self.vision!r}; correct it."
            )


World = Mapping[str, LeakRates]
"""Tasks of a world, equally frequent, with their leak rates."""

WORLD: World = {
    "ChooseAttr": LeakRates(language=0.25, vision=0.25),
    "ChooseCat": LeakRates(language=0.5),
    "ChooseRel": LeakRates(),
    "CompareAttr": LeakRates(language=0.5, vision=0.5),
    "LogicalObj": LeakRates(language=0.75),
    "QueryAttr": LeakRates(vision=0.5),
}
"""Tasks that range from needing the image to a wording that mostly reveals the answer, as LogicalObj in GQA."""

NAMING: World = dict.fromkeys(GROUNDING, LeakRates())
"""The three grounding tasks."""


class Truth(NamedTuple):
    """Information of image and words about the answer of a task, in bits.

    Example:
        >>> from pid import toyworld
        >>> known = toyworld.truth("QueryAttr", toyworld.LeakRates(vision=0.5))
        >>> known.unique_gap, known.redundancy_gap, known.at_stake
        (0.5, -0.5, 1.0)
    """

    answer: float
    """H(Y), the information of scene and question together."""

    vision: float
    """I(Y; S), the information of the scene alone."""

    language: float
    """I(Y; Q), the information of the question alone."""

    @property
    def unique_gap(self) -> float:
        """Unique information of the image less that of the words, by every measure of redundancy."""
        return self.vision - self.language

    @property
    def redundancy_gap(self) -> float:
        """Redundancy less synergy, by every measure of redundancy."""
        return self.vision + self.language - self.answer

    @property
    def at_stake(self) -> float:
        """I(Y; S | Q), the most that a knockout of the image can remove."""
        return self.answer - self.language


@accept_former_keyword("dials", "leak_rates")
def truth(task: str, leak_rates: LeakRates) -> Truth:
    """Compute the information of one of the six tasks in closed form.

    Args:
        task: a name of `TASKS`.
        leak_rates: shares of the examples in which one source alone reveals the answer.

    Returns:
        Entropy of the answer, and the information of scene and question, in bits.

    Raises:
        ValueError: another task.

    Example:
        >>> from pid import toyworld
        >>> toyworld.truth("ChooseAttr", toyworld.LeakRates(language=0.5))
        Truth(answer=2.0, vision=0.0, language=1.5)
    """
    if task not in TASKS:
        raise ValueError(f"bits are known for {', '.join(TASKS)}, got {task!r}.")
    if not isinstance(leak_rates, LeakRates):
        raise TypeError(f"leak rates are LeakRates(language, vision), got {leak_rates!r}; make them.")
    entropy, options = math.log2(len(TASKS[task].answers)), TASKS[task].options
    return Truth(entropy, leak_rates.vision * entropy, options + leak_rates.language * (entropy - options))


Atom = Literal["redundancy", "unique_x", "unique_y", "synergy"]
"""Names of the atoms as in `PID`; x is the image, y are the words."""


@accept_former_fields(dials="leak_rates")
@dataclass(frozen=True)
class Expected:
    """Prediction of a later measurement at one corner of the leak rates.

    Example:
        >>> from pid import toyworld
        >>> expected = toyworld.EXPECTED["words suffice"]
        >>> expected.atom, expected.knockout
        ('unique_y', 'stays')
    """

    leak_rates: LeakRates
    """The corner: both rates are 0 or 1."""

    atom: Atom
    """The atom of (answer; scene, question) that holds all bits in CompareAttr, LogicalObj and QueryAttr."""

    knockout: Literal["falls", "stays"] | None
    """Effect of a knockout of Image→Question in all layers on the right answer's probability; None if unknown."""

    reason: str
    """Reason of the prediction."""


EXPECTED = {
    "both needed": Expected(
        LeakRates(language=0.0, vision=0.0),
        "synergy",
        "falls",
        "The question says where to look and the image what is there. Last may still read both directly, so how far "
        "it falls depends on the model.",
    ),
    "words suffice": Expected(
        LeakRates(language=1.0, vision=0.0),
        "unique_y",
        "stays",
        "The wording reveals the answer and the scene has questions for every answer.",
    ),
    "image suffices": Expected(
        LeakRates(language=0.0, vision=1.0),
        "unique_x",
        None,
        "The scene has one answer whatever the question is. Whether Last reads it or the question passes it on is "
        "the model's choice.",
    ),
    "either suffices": Expected(
        LeakRates(language=1.0, vision=1.0),
        "redundancy",
        "stays",
        "Wording and scene carry the same; the question tokens need no image to have it.",
    ),
}
"""Predictions at the four corners, by name.

The prediction for the knockout assumes a trained model and a prompt in which only the question and the last token
follow the image, as in the toy world.
"""
