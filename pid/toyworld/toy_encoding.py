"""Examples as inputs of a LLaVA: directly as arrays, or by the real processor, with equal results.

The prompt is `<image>{question} ?`. The question directly follows the image. A token between them could read the image
and pass it to the question despite a knockout of Image→Question (see `pid.llava.preprocessing.prompts`). The last
token, `?`, is not part of the question, because LAST overrides QUESTION.

n examples, T tokens
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from pid.llava import Processor, Sample, TokenType, wrap_processor
from pid.llava.model_folder.transformers_config import import_transformers
from pid.toyworld.dataset import Example
from pid.toyworld.scenes import PATCH, normalize, render
from pid.toyworld.vocabulary import IMAGE, PAD, QUESTION_MARK, SIDE, UNKNOWN, VOCABULARY

STYLE = IMAGE + "{question} " + QUESTION_MARK
"""Prompt of the toy world, for `read_processor(path, style=STYLE, suffix="none")`."""

IMAGE_TOKENS = SIDE**2
"""Tokens of a picture, one for each cell."""

LENGTH = IMAGE_TOKENS + 11
"""Number of tokens of the longest prompt; the longest question has ten words."""


class Arrays(NamedTuple):
    """Examples ready for training, all padded on the right to `LENGTH`.

    Example:
        >>> from pid import toyworld
        >>> batch = toyworld.arrays(list(toyworld.generate(4, seed=0)))
        >>> batch.ids.shape, batch.pixels.shape
        ((4, 27), (4, 3, 32, 32))
    """

    ids: Int32[np.ndarray, "n t"]
    """Token ids, (n, T)."""

    types: Int32[np.ndarray, "n t"]
    """`TokenType` of each token, (n, T)."""

    pixels: Float32[np.ndarray, "n colors y x"]
    """Pictures as the vision tower takes them, (n, 3, 32, 32)."""

    answers: Int32[np.ndarray, "n"]
    """Token id of each answer, (n,); the target at the token of type LAST."""


def arrays(examples: Iterable[Example]) -> Arrays:
    """Encode examples as arrays without a tokenizer or an image processor.

    Args:
        examples: n examples.

    Returns:
        Arrays, equal to the output of the real processor for `samples`.

    Example:
        >>> from pid import toyworld
        >>> toyworld.arrays(list(toyworld.generate(2, seed=0))).answers.shape
        (2,)
    """
    examples = _check_examples(examples)
    ids = np.full((len(examples), LENGTH), VOCABULARY[PAD], np.int32)
    types = np.full((len(examples), LENGTH), TokenType.PAD, np.int32)
    ids[:, :IMAGE_TOKENS], types[:, :IMAGE_TOKENS] = VOCABULARY[IMAGE], TokenType.IMAGE
    for index, example in enumerate(examples):
        words = [VOCABULARY[word] for word in example.question.split()]
        last = IMAGE_TOKENS + len(words)
        ids[index, IMAGE_TOKENS : last + 1] = [*words, VOCABULARY[QUESTION_MARK]]
        types[index, IMAGE_TOKENS:last], types[index, last] = TokenType.QUESTION, TokenType.LAST
    answers = np.array([VOCABULARY[example.answer] for example in examples], np.int32)
    return Arrays(ids, types, normalize(render([example.scene for example in examples])), answers)


def samples(examples: Iterable[Example]) -> list[Sample]:
    """Convert examples to raw samples, for `llava.encode`.

    Args:
        examples: any number of examples.

    Returns:
        One sample each: name, picture and question.

    Example:
        >>> from pid import toyworld
        >>> len(toyworld.samples(toyworld.generate(3, seed=0)))
        3
    """
    return [
        Sample(example.name, render([example.scene])[0], example.question)
        for example in _check_examples(examples)
    ]


def _check_examples(examples: Iterable[Example]) -> list[Example]:
    """The examples as a list.

    Raises:
        TypeError: one of them is something else.
        ValueError: a question or an answer has a word that the toy world lacks, or a question is too long.
    """
    several: list[Any] = [examples] if isinstance(examples, Example) else list(examples)
    for example in several:
        if not isinstance(example, Example):
            raise TypeError(
                f"examples are of type Example, got {type(example).__name__}; draw them by generate."
            )
        words = example.question.split()
        if unknown := [word for word in (*words, example.answer) if word not in VOCABULARY]:
            raise ValueError(
                f"questions and answers have the words of the toy world, got {unknown[0]!r} in {example.name}; see "
                f"VOCABULARY."
            )
        if len(words) >= LENGTH - IMAGE_TOKENS:
            raise ValueError(
                f"a question has at most {LENGTH - IMAGE_TOKENS - 1} words, got {len(words)} in {example.name}; "
                f"shorten it."
            )
    return several


def tokenizer() -> Any:
    """Make a tokenizer of transformers with one token for each word of the toy world.

    Returns:
        A `PreTrainedTokenizerFast`.

    Example:
        >>> from pid import toyworld
        >>> toyworld.tokenizer().tokenize("is the ball red")
        ['is', 'the', 'ball', 'red']
    """
    transformers = import_transformers()
    from tokenizers import Tokenizer, models, pre_tokenizers

    words: Any = Tokenizer(models.WordLevel(VOCABULARY, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": UNKNOWN, "pad_token": PAD, "additional_special_tokens": [IMAGE]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)


def hugging_face_processor() -> Any:
    """Make the `LlavaProcessor` of the toy world.

    Returns:
        The processor; its `save_pretrained` makes a folder for `llava.read_processor`.

    Example:
        >>> from pid import toyworld
        >>> type(toyworld.hugging_face_processor()).__name__
        'LlavaProcessor'
    """
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
    """Make the processor of the toy world, for `llava.encode`.

    Returns:
        `hugging_face_processor()` with the prompt `STYLE`.

    Example:
        >>> from pid import toyworld
        >>> type(toyworld.processor()).__name__
        'Processor'
    """
    return wrap_processor(hugging_face_processor(), style=STYLE, suffix="none")
