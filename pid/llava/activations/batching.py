"""From prompts to batches of few shapes, on the host.

A row is cut behind its last image token. What comes before is padded to one of a few lengths, and so is the rest; the
hole between them is padding like any other. Rows of one shape share a batch, and a program.

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
from pid.llava.preprocessing.device_inputs import Inputs, prepare
from pid.llava.preprocessing.encoded_prompt import Row
from pid.llava.tokens import TokenType

Conditions = Mapping[str, tuple[Knockout, ...]]

WORDS = 64  # before an image: the system line takes some 35 tokens
STEP = 64  # lengths are multiples of it
SUFFIX = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Buckets:
    """The lengths to which prefix and suffix are padded.

    Raises:
        ValueError: no lengths, or lengths that are not positive and rising.
    """

    prefix: tuple[int, ...]
    """Tokens up to and including the last of the image."""
    suffix: tuple[int, ...] = SUFFIX
    """Tokens behind it."""

    def __post_init__(self):
        for name in ("prefix", "suffix"):
            lengths = getattr(self, name)
            if not lengths or list(lengths) != sorted({*lengths}) or lengths[0] < 1:
                raise ValueError(
                    f"buckets are positive lengths in rising order, got {name}={lengths}; sort them."
                )


class Shape(NamedTuple):
    """What the rows of one batch have in common."""

    prefix: int
    """Tokens up to the last of the image, padding included; 0 for text alone."""
    suffix: int
    """Tokens behind it, padding included."""
    full: tuple[str, ...]
    """The conditions that cut a query of the prefix, so that it cannot be shared."""


class Alike(NamedTuple):
    """Rows of one shape, and the places they have among all samples."""

    shape: Shape
    places: tuple[int, ...]
    rows: tuple[Row, ...]


def largest_image(config: LlavaConfig) -> tuple[int, int]:
    """The most tokens and the most tiles that an image can have: of one as large as the resolution on offer."""
    vision = config.vision
    if config.pinpoints is None:
        return vision.patches, 1
    grids = [tile_grid(size, config.pinpoints, vision.image_size) for size in config.pinpoints]
    tokens = max(down * vision.side * (across * vision.side + 1) for down, across in grids)
    return vision.patches + tokens, 1 + max(down * across for down, across in grids)


def default_buckets(config: LlavaConfig) -> Buckets:
    """For LLaVA-1.5 one prefix, 640 at full size; for LLaVA-1.6 three, 1536, 2432 and 3008.

    The largest image and 64 words; of LLaVA-1.6, whose images differ, also half of that and four fifths.
    """

    def rounded(length: int) -> int:
        return -(-length // STEP) * STEP

    longest = rounded(largest_image(config)[0] + WORDS)
    tenths = (10,) if config.pinpoints is None else (5, 8, 10)
    return Buckets(tuple(sorted({rounded(longest * part // 10) for part in tenths})))


def prefix_length(types: Int[np.ndarray, "t"]) -> int:
    """Tokens up to and including the last of the image, but never the last of all; 0 without an image."""
    image = np.flatnonzero(types == TokenType.IMAGE)
    return min(int(image[-1]) + 1, len(types) - 1) if len(image) else 0


def in_full(types: Int[np.ndarray, "t"], conditions: Conditions) -> tuple[str, ...]:
    """The conditions that cannot share a prefix of these types: they cut one of its queries, or it is empty."""
    found = set(types.tolist())
    return tuple(
        name for name, cuts in conditions.items() if not found or found & {int(cut.target) for cut in cuts}
    )


def _padded(name: str, what: str, length: int, lengths: tuple[int, ...]) -> int:
    fitting = [bucket for bucket in lengths if length <= bucket]
    if not fitting:
        raise ValueError(
            f"a {what} has at most {lengths[-1]} tokens, got {length} in row {name!r}; pass longer buckets."
        )
    return fitting[0]


def shape_of(row: Row, conditions: Conditions, buckets: Buckets) -> Shape:
    """The shape of the batch that a row belongs to.

    Raises:
        ValueError: ids and types that differ in length, tokens that are padding, an image without tokens or tokens
            without an image, or more tokens than the longest bucket.
    """
    types = np.asarray(row.types)
    if types.shape != np.shape(row.ids) or types.ndim != 1 or not types.all():
        raise ValueError(
            f"a row has as many types as ids and no padding, got ids {np.shape(row.ids)}, types {types.shape} and "
            f"{(types == TokenType.PAD).sum()} of PAD in row {row.name!r}; encode it again."
        )
    prefix = prefix_length(types)
    if (prefix > 0) != (row.pixels is not None):
        raise ValueError(
            f"an image has tokens and pixels, got {(types == TokenType.IMAGE).sum()} tokens of IMAGE and "
            f"{'no ' * (row.pixels is None)}pixels in row {row.name!r}; encode it again."
        )
    return Shape(
        _padded(row.name, "prefix", prefix, buckets.prefix) if prefix else 0,
        _padded(row.name, "suffix", len(types) - prefix, buckets.suffix),
        in_full(types[:prefix], conditions),
    )


def batches(
    rows: Iterable[tuple[int, Row]], size: int, conditions: Conditions, buckets: Buckets
) -> Iterator[Alike]:
    """Batches of `size` rows of one shape each, every one as soon as it is full; in the end those that are not.

    The batches of a shape follow the order of its rows, so those that remain after whole batches are taken away are
    batched as before.
    """
    waiting: dict[Shape, list[tuple[int, Row]]] = {}
    for place, row in rows:
        shape = shape_of(row, conditions, buckets)
        waiting.setdefault(shape, []).append((place, row))
        if len(waiting[shape]) == size:
            yield _batch(shape, waiting.pop(shape))
    for shape, left in waiting.items():
        yield _batch(shape, left)


def _batch(shape: Shape, placed: list[tuple[int, Row]]) -> Alike:
    places, rows = zip(*placed, strict=True)
    return Alike(shape, places, rows)


def lay_out(config: LlavaConfig, batch: Alike, size: int) -> Inputs:
    """The batch as the device takes it: `size` rows, the last one repeated if there are fewer.

    Raises:
        ValueError: a row that breaks a rule of `prepare`; a note names the rows.
    """
    rows = batch.rows + batch.rows[-1:] * (size - len(batch.rows))
    prefix, length = batch.shape.prefix, batch.shape.prefix + batch.shape.suffix
    ids, types = np.zeros((size, length), np.int32), np.full((size, length), TokenType.PAD, np.int32)
    for at, row in enumerate(rows):
        cut = prefix_length(row.types)
        for array, values in ((ids, row.ids), (types, row.types)):
            array[at, :cut], array[at, prefix : prefix + len(values) - cut] = values[:cut], values[cut:]
    pixels, sizes = _images(config, rows)
    try:
        return prepare(config, ids, pixels, image_sizes=sizes, token_types=types)
    except ValueError as error:
        error.add_note(f"In a batch of the rows {', '.join(row.name for row in batch.rows)}.")
        raise


def _images(config: LlavaConfig, rows: tuple[Row, ...]) -> tuple[Any, Any]:
    """Pixels and sizes of the images, those of LLaVA-1.6 filled up with empty tiles."""
    if rows[0].pixels is None:
        return None, None
    tiles = [np.asarray(row.pixels) for row in rows]
    if config.pinpoints is None:
        return np.concatenate(tiles), None
    most = max(largest_image(config)[1], *map(len, tiles))
    pixels = np.zeros((len(rows), most, *tiles[0].shape[1:]), np.float32)
    for at, some in enumerate(tiles):
        pixels[at, : len(some)] = some
    return pixels, np.array([row.image_size for row in rows])


def tables(conditions: Iterable[tuple[Knockout, ...]], layers: int) -> Bool[np.ndarray, "c l one y y"]:
    """The `knockout_mask` of each condition, all of the size of the largest: bool (C, L, 1, Y, Y)."""
    found = [knockout_mask(cuts, layers) for cuts in conditions]
    size = max((table.shape[-1] for table in found), default=0)
    wide = [np.pad(table, [(0, 0)] * 2 + [(0, size - table.shape[-1])] * 2) for table in found]
    return np.stack(wide) if wide else np.zeros((0, layers, 1, size, size), bool)
