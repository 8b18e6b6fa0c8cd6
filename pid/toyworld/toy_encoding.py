"""Examples as a LLaVA reads them: fast as arrays, or through the real processor, with the same result.

The prompt is `<image>{question} ?`. The question stands right behind the image, so that no other token sees the image
before it: a token between the two would carry the image past a knockout of Image→Question (see `llava.prompts`). The
last token, `?`, is no part of the question, for LAST overrides QUESTION.

n examples, T tokens
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from pid.llava import Processor, Sample, TokenType, wrap_processor
from pid.llava.config import import_transformers
from pid.toyworld.dataset import Example
from pid.toyworld.scenes import PATCH, normalise, render
from pid.toyworld.vocabulary import ASKED, IMAGE, PAD, SIDE, UNKNOWN, VOCABULARY

STYLE = IMAGE + "{question} " + ASKED
"""The prompt, to be read back with `read_processor(path, style=STYLE, suffix="none")`."""
IMAGE_TOKENS = SIDE**2
LENGTH = IMAGE_TOKENS + 11
"""Tokens of the longest prompt: the longest question has ten words."""


class Arrays(NamedTuple):
    """Examples ready for training, all padded on the right to `LENGTH`."""

    ids: Int32[np.ndarray, "n t"]
    """Token ids (n, T)."""
    types: Int32[np.ndarray, "n t"]
    """`TokenType` of each token (n, T)."""
    pixels: Float32[np.ndarray, "n colours y x"]
    """Pictures as the vision tower takes them (n, 3, 32, 32)."""
    answers: Int32[np.ndarray, "n"]
    """The token id of each answer (n,), to be said at the token of type LAST."""


def arrays(examples: Sequence[Example]) -> Arrays:
    """The examples as arrays, without tokenizer and image processor."""
    ids = np.full((len(examples), LENGTH), VOCABULARY[PAD], np.int32)
    types = np.full((len(examples), LENGTH), TokenType.PAD, np.int32)
    ids[:, :IMAGE_TOKENS], types[:, :IMAGE_TOKENS] = VOCABULARY[IMAGE], TokenType.IMAGE
    for index, example in enumerate(examples):
        words = [VOCABULARY[word] for word in example.question.split()]
        last = IMAGE_TOKENS + len(words)
        ids[index, IMAGE_TOKENS : last + 1] = [*words, VOCABULARY[ASKED]]
        types[index, IMAGE_TOKENS:last], types[index, last] = TokenType.QUESTION, TokenType.LAST
    answers = np.array([VOCABULARY[example.answer] for example in examples], np.int32)
    return Arrays(ids, types, normalise(render([example.scene for example in examples])), answers)


def samples(examples: Iterable[Example]) -> list[Sample]:
    """The examples as raw samples, for `llava.encode`."""
    return [Sample(example.name, render([example.scene])[0], example.question) for example in examples]


def tokenizer() -> Any:
    """A tokenizer of transformers with one token for each word of the toy world."""
    transformers = import_transformers()
    from tokenizers import Tokenizer, models, pre_tokenizers

    words: Any = Tokenizer(models.WordLevel(VOCABULARY, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": UNKNOWN, "pad_token": PAD, "additional_special_tokens": [IMAGE]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)


def hugging_face_processor() -> Any:
    """The LlavaProcessor of the toy world; its `save_pretrained` makes a folder for `llava.read_processor`."""
    transformers, side = import_transformers(), SIDE * PATCH
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return transformers.LlavaProcessor(
        images,
        tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def processor() -> Processor:
    """The processor of the toy world, for `llava.encode`."""
    return wrap_processor(hugging_face_processor(), style=STYLE, suffix="none")
