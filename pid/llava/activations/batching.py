"""Group encoded prompts into batches of few shapes, on the host.

A prompt is split after its last image token. Prefix and suffix are each padded to one of a few lengths, so padding may
lie between the two. Prompts of one shape share a batch and a compiled program.

T tokens, L layers, C conditions, Y token types
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout, knockout_mask
from pid.llava.preprocessing.anyres import tile_grid
from pid.llava.preprocessing.device_inputs import DeviceInputs, prepare
from pid.llava.preprocessing.encoded_prompt import EncodedPrompt
from pid.llava.tokens import TokenType

Conditions = Mapping[str, tuple[Knockout, ...]]

TOKENS_BEFORE_IMAGE = 64  # the system prompt takes about 35 tokens
LENGTH_MULTIPLE = 64  # lengths of prefixes are multiples of it
SUFFIX_LENGTHS = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Buckets:
    """The lengths to which prefix and suffix of a prompt are padded.

    Raises:
        ValueError: no lengths, or lengths that are not positive and increasing.

    Example:
        >>> from pid import llava
        >>> llava.Buckets(prefix=(640,)).suffix
        (32, 64, 128, 256, 512)
    """

    prefix: tuple[int, ...]
    """Lengths of the tokens up to and including the last image token."""
    suffix: tuple[int, ...] = SUFFIX_LENGTHS
    """Lengths of the tokens after it."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        for name in ("prefix", "suffix"):
            lengths = getattr(self, name)
            is_list = isinstance(lengths, tuple | list)
            is_whole = is_list and all(
                isinstance(length, int | np.integer) and not isinstance(length, bool) for length in lengths
            )
            if not is_whole or not lengths or list(lengths) != sorted({*lengths}) or min(lengths) < 1:
                raise ValueError(
                    f"buckets are positive lengths in rising order, got {name}={lengths!r}; pass a tuple "
                    f"of whole numbers."
                )


class BatchShape(NamedTuple):
    """The shape that all prompts of a batch have."""

    prefix: int
    """Tokens up to the last image token, padding included. 0 for text alone."""
    suffix: int
    """Tokens after it, padding included."""
    without_sharing: tuple[str, ...]
    """The conditions that remove attention edges of prefix queries, so that the prefix cannot be shared."""


class PromptBatch(NamedTuple):
    """Prompts of one shape, and their places among all samples."""

    shape: BatchShape
    """The shape of all these prompts."""
    places: tuple[int, ...]
    """For each prompt its index among all samples."""
    rows: tuple[EncodedPrompt, ...]
    """The prompts."""


def largest_image(config: LlavaConfig) -> tuple[int, int]:
    """The largest number of tokens and of tiles of an image, over the resolutions of the configuration."""
    vision = config.vision
    if config.pinpoints is None:
        return vision.patches, 1
    grids = [tile_grid(size, config.pinpoints, vision.image_size) for size in config.pinpoints]
    tokens = max(down * vision.side * (across * vision.side + 1) for down, across in grids)
    return vision.patches + tokens, 1 + max(down * across for down, across in grids)


def default_buckets(config: LlavaConfig) -> Buckets:
    """The default buckets: prefixes of 640 tokens for LLaVA-1.5-7B, of 1536, 2432 and 3008 for LLaVA-1.6-7B.

    The longest prefix holds the largest image and 64 text tokens. The images of LLaVA-1.6 differ in size, so it also
    has prefixes of half and of four fifths of that length.
    """

    def round_up(length: int) -> int:
        return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE

    longest = round_up(largest_image(config)[0] + TOKENS_BEFORE_IMAGE)
    tenths = (10,) if config.pinpoints is None else (5, 8, 10)
    return Buckets(tuple(sorted({round_up(longest * count // 10) for count in tenths})))


def prefix_length(types: Int[np.ndarray, "t"]) -> int:
    """The number of tokens up to and including the last image token, excluding the last token; 0 without an image."""
    image = np.flatnonzero(types == TokenType.IMAGE)
    return min(int(image[-1]) + 1, len(types) - 1) if len(image) else 0


def conditions_without_sharing(types: Int[np.ndarray, "t"], conditions: Conditions) -> tuple[str, ...]:
    """The conditions that cannot share a prefix of these types.

    They remove attention edges of one of its queries, or the prefix is empty.
    """
    present = set(types.tolist())
    return tuple(
        name
        for name, knockouts in conditions.items()
        if not present or present & {int(knockout.target) for knockout in knockouts}
    )


def _bucket(name: str, segment: str, length: int, lengths: tuple[int, ...]) -> int:
    fitting = [bucket for bucket in lengths if length <= bucket]
    if not fitting:
        raise ValueError(
            f"a {segment} has at most {lengths[-1]} tokens, got {length} in row {name!r}; pass longer buckets."
        )
    return fitting[0]


def check_layout(row: EncodedPrompt) -> None:
    """Check ids, types and pixels of a prompt against each other.

    Raises:
        ValueError: ids and types that differ in length, tokens that are padding, an image without tokens or tokens
            without an image.
    """
    types = np.asarray(row.types)
    if types.shape != np.shape(row.ids) or types.ndim != 1 or not types.all():
        raise ValueError(
            f"a row has as many types as ids and no padding, got ids {np.shape(row.ids)}, types {types.shape} and "
            f"{(types == TokenType.PAD).sum()} of PAD in row {row.name!r}; encode it again."
        )
    if (prefix_length(types) > 0) != (row.pixels is not None):
        raise ValueError(
            f"an image has tokens and pixels, got {(types == TokenType.IMAGE).sum()} tokens of IMAGE and "
            f"{'no ' * (row.pixels is None)}pixels in row {row.name!r}; encode it again."
        )


def batch_shape(row: EncodedPrompt, conditions: Conditions, buckets: Buckets) -> BatchShape:
    """The shape of the batch that a prompt belongs to.

    Raises:
        ValueError: ids, types and pixels do not match, or there are more tokens than the longest bucket has.
    """
    check_layout(row)
    types = np.asarray(row.types)
    prefix = prefix_length(types)
    return BatchShape(
        _bucket(row.name, "prefix", prefix, buckets.prefix) if prefix else 0,
        _bucket(row.name, "suffix", len(types) - prefix, buckets.suffix),
        conditions_without_sharing(types[:prefix], conditions),
    )


def batches(
    rows: Iterable[tuple[int, EncodedPrompt]], size: int, conditions: Conditions, buckets: Buckets
) -> Iterator[PromptBatch]:
    """Yield batches of `size` prompts of one shape as soon as they are full, then the rest.

    The batches of a shape follow the order of its prompts. If the prompts of full batches are left out, the remaining
    prompts therefore form the same batches as before.
    """
    pending: dict[BatchShape, list[tuple[int, EncodedPrompt]]] = {}
    for place, row in rows:
        shape = batch_shape(row, conditions, buckets)
        pending.setdefault(shape, []).append((place, row))
        if len(pending[shape]) == size:
            yield _batch(shape, pending.pop(shape))
    for shape, rest in pending.items():
        yield _batch(shape, rest)


def _batch(shape: BatchShape, rows_with_places: list[tuple[int, EncodedPrompt]]) -> PromptBatch:
    places, rows = zip(*rows_with_places, strict=True)
    return PromptBatch(shape, places, rows)


def to_device_inputs(config: LlavaConfig, batch: PromptBatch, size: int) -> DeviceInputs:
    """Lay out a batch for the device: `size` prompts, with the last one repeated if there are fewer.

    Raises:
        ValueError: a prompt that breaks a rule of `prepare`; a note names the prompts.
    """
    rows = batch.rows + batch.rows[-1:] * (size - len(batch.rows))
    prefix, length = batch.shape.prefix, batch.shape.prefix + batch.shape.suffix
    ids, types = np.zeros((size, length), np.int32), np.full((size, length), TokenType.PAD, np.int32)
    for index, row in enumerate(rows):
        split = prefix_length(row.types)
        for array, values in ((ids, row.ids), (types, row.types)):
            array[index, :split] = values[:split]
            array[index, prefix : prefix + len(values) - split] = values[split:]
    pixels, sizes = _images(config, rows)
    try:
        return prepare(config, ids, pixels, image_sizes=sizes, token_types=types)
    except ValueError as error:
        error.add_note(f"In a batch of the rows {', '.join(row.name for row in batch.rows)}.")
        raise


def _images(config: LlavaConfig, rows: tuple[EncodedPrompt, ...]) -> tuple[Any, Any]:
    """Pixels and sizes of the images. In LLaVA-1.6 empty tiles fill up the tile axis."""
    if rows[0].pixels is None:
        return None, None
    tiles = [np.asarray(row.pixels) for row in rows]
    if config.pinpoints is None:
        return np.concatenate(tiles), None
    max_tiles = max(largest_image(config)[1], *map(len, tiles))
    pixels = np.zeros((len(rows), max_tiles, *tiles[0].shape[1:]), np.float32)
    for index, image in enumerate(tiles):
        pixels[index, : len(image)] = image
    return pixels, np.array([row.image_size for row in rows])


def stack_knockout_masks(
    conditions: Iterable[tuple[Knockout, ...]], layers: int
) -> Bool[np.ndarray, "c l one y y"]:
    """The `knockout_mask` of each condition, padded to the largest size: bool (C, L, 1, Y, Y)."""
    masks = [knockout_mask(knockouts, layers) for knockouts in conditions]
    size = max((mask.shape[-1] for mask in masks), default=0)
    padded = [np.pad(mask, [(0, 0)] * 2 + [(0, size - mask.shape[-1])] * 2) for mask in masks]
    return np.stack(padded) if padded else np.zeros((0, layers, 1, size, size), bool)
