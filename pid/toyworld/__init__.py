"""A small generated world of pictures and questions in the shape of GQA, in which it is known what comes from where.

    examples = list(toyworld.generate(20_000, seed=0))
    batch = toyworld.arrays(examples)             # to train on
    toyworld.truth("QueryAttr", toyworld.LeakRates())  # the bits that image and words tell, each alone

It is synthetic: a figure drawn from it shows that a method finds what was put there, and nothing about photographs.

words      every word, and its token id
scenes     coloured shapes in a grid of patches; their pictures
tasks      the six tasks and three that name what is seen: how a scene and a question about it are drawn
truth      bits in closed form, and the direction of every effect
stream     examples by seed, training and test apart
encoding   as arrays, or through the real processor
"""

from pid.toyworld.dataset import Example as Example
from pid.toyworld.dataset import generate as generate
from pid.toyworld.scenes import PATCH as PATCH
from pid.toyworld.scenes import Scene as Scene
from pid.toyworld.scenes import Thing as Thing
from pid.toyworld.scenes import normalise as normalise
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
