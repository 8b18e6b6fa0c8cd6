"""Encode raw samples, each an image and a question, as prompts and batches.

processor = llava.read_processor("llava-1.5-7b-hf", suffix="zhang")
batch = llava.encode(processor, [llava.Sample("1", "kettle.jpg", "What color is the kettle?")])
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL import Image

from pid.llava.preprocessing.encoded_prompt import EncodedPrompt
from pid.llava.preprocessing.images import tiles, to_rgb
from pid.llava.preprocessing.padding import Batch, pad
from pid.llava.preprocessing.processor import Processor
from pid.llava.preprocessing.prompts import IMAGE, Prompt, prompt
from pid.llava.preprocessing.sources.image_sources import ImageLike
from pid.llava.preprocessing.tokenization import CharacterSpan, tokenize


class Sample(NamedTuple):
    """A question about an image.

    Example:
        >>> from pid import llava
        >>> sample = llava.Sample("q1", "kettle.jpg", "Is it red or blue?", spans=((6, 9, 5), (13, 17, 6)))
        >>> [sample.question[start:stop] for start, stop, _ in sample.spans]
        ['red', 'blue']
    """

    name: str
    """The name of the sample, unique among the samples."""
    image: ImageLike | None
    """A PIL image, a uint8 array with colors last, the path of a file, its bytes, or, as in
    `datasets`, a dictionary of `bytes` and `path`. None is text alone, which needs a prompt style without `<image>`."""
    question: str
    """The question alone. The processor adds prompt style and suffix."""
    spans: tuple[CharacterSpan, ...] = ()
    """Parts of the question with a token type of their own: (first character, one past the last, type from 5 on)."""


def encode_prompt(processor: Processor, sample: Sample) -> EncodedPrompt:
    """Encode one sample.

    Args:
        processor: tokenizer, image processor and prompt style.
        sample: an image and a question.

    Returns:
        Token ids, token types and tiles, not padded. Tiles and image size are None for text alone.

    Raises:
        FileNotFoundError: the image file does not exist; the message names the sample.
        TypeError: the image is of a type that holds none, and the message names the sample; or it is another processor.
        ValueError: the sample breaks a rule; the message names both.

    Example::

        row = llava.encode_prompt(processor, llava.Sample("q1", "kettle.jpg", "What color is the kettle?"))
        row.ids.shape, row.pixels.shape

    The example is not executed, because it needs the files of a model.
    """
    _check_types(processor, sample)
    try:
        return _encode(processor, sample)
    except (FileNotFoundError, TypeError, ValueError) as error:
        kinds = (FileNotFoundError, TypeError, ValueError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(f"sample {sample.name!r}: {error}") from error


def _check_types(processor: object, sample: object) -> None:
    if not isinstance(processor, Processor):
        raise TypeError(
            f"samples are encoded by a Processor, got {type(processor).__name__}; read one by "
            f"llava.read_processor(path), or convert one of transformers by llava.wrap_processor."
        )
    if not isinstance(sample, Sample):
        raise TypeError(
            f"samples are of type Sample, got {type(sample).__name__}; pass a list of Sample(name, image, question)."
        )
    if not isinstance(sample.name, str):
        raise TypeError(f"the name of a sample is a text, got {sample.name!r}; convert it by str.")


def _several(samples: Iterable[Sample] | Sample) -> Iterable[Sample]:
    """The samples, given several or a single one."""
    if isinstance(samples, Sample):
        return (samples,)
    if not isinstance(samples, Iterable):
        raise TypeError(
            f"samples are a list of Sample(name, image, question), got {type(samples).__name__}; pass one."
        )
    return samples


def _encode(processor: Processor, sample: Sample) -> EncodedPrompt:
    text = prompt(sample.question, style=processor.style, suffix=processor.suffix)
    image = _image(sample, text)
    size = None if image is None else (image.height, image.width)
    tokens = tokenize(
        processor.tokenizer,
        text,
        image_token=processor.image_token,
        images=0 if size is None else processor.image_tokens(size),
        spans=sample.spans,
    )
    pixels = None if image is None else tiles(processor.images, image)
    return EncodedPrompt(sample.name, tokens.ids, tokens.types, pixels, size)


def _image(sample: Sample, text: Prompt) -> Image.Image | None:
    if text.has_image:
        return to_rgb(sample.image)
    if sample.image is not None:
        raise ValueError(
            f"a prompt style without {IMAGE} takes text alone, got an image; pass Sample(name, None, question), or a "
            f"style with {IMAGE}."
        )
    return None


def encode_prompts(processor: Processor, samples: Iterable[Sample] | Sample) -> Iterator[EncodedPrompt]:
    """Encode samples lazily, one after the other.

    Args:
        processor: tokenizer, image processor and prompt style.
        samples: samples with unique names, or a single one.

    Yields:
        The encoded prompts, in the order of the samples.

    Raises:
        FileNotFoundError: an image file does not exist; the message names the sample.
        ValueError: a sample breaks a rule, or two samples have one name.

    Example::

        for row in llava.encode_prompts(processor, samples):
            print(row.name, len(row.ids))

    The example is not executed, because it needs the files of a model.
    """
    names: set[str] = set()
    for sample in _several(samples):
        _check_types(processor, sample)
        if sample.name in names:
            raise ValueError(f"names of samples are unique, got {sample.name!r} twice; number them.")
        names.add(sample.name)
        yield encode_prompt(processor, sample)


def encode(processor: Processor, samples: Iterable[Sample] | Sample) -> Batch:
    """Encode samples as one batch.

    Args:
        processor: tokenizer, image processor and prompt style.
        samples: one sample or more, with unique names.

    Returns:
        The batch, padded on the right to its longest prompt.

    Raises:
        FileNotFoundError: an image file does not exist; the message names the sample.
        ValueError: there are no samples, a sample breaks a rule, or two samples have one name.

    Example::

        batch = llava.encode(processor, [llava.Sample("q1", "kettle.jpg", "What color is the kettle?")])
        batch.ids.shape, batch.questions

    The example is not executed, because it needs the files of a model.
    """
    return pad(list(encode_prompts(processor, samples)), pad_token=processor.pad_token)
