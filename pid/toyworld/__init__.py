"""Synthetic pictures and questions in the format of GQA, whose information is known.

    examples = list(toyworld.generate(20_000, seed=0))
    batch = toyworld.arrays(examples)                  # to train on
    toyworld.truth("QueryAttr", toyworld.LeakRates())  # information of image and words about the answer, in bits

Results on it show whether a method recovers the planted information. They say nothing about photographs.

vocabulary    words and their token ids
scenes        colored shapes in a grid of patches; their pictures
tasks         samplers of scenes and questions: six tasks, and three that name the contents of the picture
truth         leak rates, information in closed form, and the direction of every effect
dataset       streams of examples by seed, with disjoint training and test scenes
toy_encoding  examples as arrays, directly or by the real processor
"""

import sys
from typing import Any

from pid.interface.deprecation import former_attribute
from pid.interface.extras import require_extra

require_extra("llava", "pid.toyworld", "tokenizers", "transformers")

from pid.toyworld.dataset import Example as Example
from pid.toyworld.dataset import generate as generate
from pid.toyworld.scenes import PATCH as PATCH
from pid.toyworld.scenes import Scene as Scene
from pid.toyworld.scenes import Thing as Thing
from pid.toyworld.scenes import normalize as normalize
from pid.toyworld.scenes import render as render
from pid.toyworld.tasks import GROUNDING as GROUNDING
from pid.toyworld.tasks import TASKS as TASKS
from pid.toyworld.tasks import ToyTask as ToyTask
from pid.toyworld.toy_encoding import LENGTH as LENGTH
from pid.toyworld.toy_encoding import STYLE as STYLE
from pid.toyworld.toy_encoding import Arrays as Arrays
from pid.toyworld.toy_encoding import arrays as arrays
from pid.toyworld.toy_encoding import hugging_face_processor as hugging_face_processor
from pid.toyworld.toy_encoding import processor as processor
from pid.toyworld.toy_encoding import samples as samples
from pid.toyworld.toy_encoding import tokenizer as tokenizer
from pid.toyworld.truth import EXPECTED as EXPECTED
from pid.toyworld.truth import NAMING as NAMING
from pid.toyworld.truth import WORLD as WORLD
from pid.toyworld.truth import Expected as Expected
from pid.toyworld.truth import LeakRates as LeakRates
from pid.toyworld.truth import Truth as Truth
from pid.toyworld.truth import truth as truth
from pid.toyworld.vocabulary import VOCABULARY as VOCABULARY


def __getattr__(name: str) -> Any:
    """Resolve a former name, with a DeprecationWarning."""
    former = {"Dials": "LeakRates", "normali" + "se": "normalize"}  # the former spelling is British
    return former_attribute(sys.modules[__name__], name, former)
