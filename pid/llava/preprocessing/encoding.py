"""From raw samples, an image and a question each, to what the model reads.

processor = llava.read_processor("llava-1.5-7b-hf", style="vicuna_v1", suffix="zhang")
batch = llava.encode(processor, [llava.Sample("1", "kettle.jpg", "What color is the kettle?")])
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pid.llava.preprocessing.encoded_prompt import Row
from pid.llava.preprocessing.images import ImageLike, tiles, to_rgb
from pid.llava.preprocessing.padding import Batch, pad
from pid.llava.preprocessing.processor import Processor
from pid.llava.preprocessing.prompts import prompt
from pid.llava.preprocessing.tokenization import Span, tokenise


class Sample(NamedTuple):
    """A question about an image."""

    name: str
    """What it is called; unique among the samples."""
    image: ImageLike
    """A PIL image, an array of uint8 with colours last, or the path of a file."""
    question: str
    """The question alone: the prompt's style and suffix are added."""
    spans: tuple[Span, ...] = ()
    """Stretches of the question whose tokens get a type of the user's: (first character, one behind the last, type)."""


def encode_row(processor: Processor, sample: Sample) -> Row:
    """One sample as the model reads it.

    Raises:
        FileNotFoundError, ValueError: names the sample and the rule that it breaks.
    """
    try:
        image = to_rgb(sample.image)
        text = prompt(sample.question, style=processor.style, suffix=processor.suffix)
        size = (image.height, image.width)
        tokens = tokenise(
            processor.tokenizer,
            text,
            image_token=processor.image_token,
            images=processor.image_tokens(size),
            spans=sample.spans,
        )
    except (FileNotFoundError, ValueError) as problem:
        raise type(problem)(f"sample {sample.name!r}: {problem}") from problem
    return Row(sample.name, tokens.ids, tokens.types, tiles(processor.images, image), size)


def encode_rows(processor: Processor, samples: Iterable[Sample]) -> Iterator[Row]:
    """The samples as rows, one after the other as they are asked for.

    Raises:
        FileNotFoundError, ValueError: names the sample and the rule that it breaks, a name that comes twice among them.
    """
    seen: set[str] = set()
    for sample in samples:
        if sample.name in seen:
            raise ValueError(f"names of samples are unique, got {sample.name!r} twice; number them.")
        seen.add(sample.name)
        yield encode_row(processor, sample)


def encode(processor: Processor, samples: Iterable[Sample]) -> Batch:
    """The samples as one batch. Raises as `encode_rows`, and ValueError without samples."""
    return pad(list(encode_rows(processor, samples)), pad_token=processor.pad_token)
