"""The samples of a capture: encoded prompts, each of them checked alone and before any padding."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pid.llava.activations.batching import check_layout
from pid.llava.config import LlavaConfig
from pid.llava.preprocessing.device_inputs import count_tiles, prepare, tiles_error, tiles_needed
from pid.llava.preprocessing.encoded_prompt import EncodedPrompt
from pid.llava.preprocessing.host_arrays import to_host_array
from pid.llava.tokens import TokenType

REMEDY = "encode samples by llava.encode_prompts(processor, samples)"


@runtime_checkable
class HasRows(Protocol):
    """An object with encoded prompts, such as a `Batch`."""

    def rows(self) -> Iterable[EncodedPrompt]:
        """The encoded prompts."""
        ...


def to_rows(samples: Any) -> Iterable[Any]:
    """The samples one after the other: those of a `Batch`, of an iterable, or a single one.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(samples, EncodedPrompt):
        return (samples,)
    if isinstance(samples, HasRows):
        return samples.rows()
    if isinstance(samples, Mapping | str) or not isinstance(samples, Iterable):
        raise ValueError(f"samples are encoded prompts or a Batch, got {type(samples).__name__}; {REMEDY}.")
    return samples


def to_row(sample: Any, place: int) -> EncodedPrompt:
    """A sample as an encoded prompt; a dictionary of its fields becomes one.

    Raises:
        ValueError: the sample is something else.
    """
    fields: Any = sample if isinstance(sample, Mapping) else getattr(sample, "_asdict", dict)()
    if set(fields) != set(EncodedPrompt._fields):
        raise ValueError(
            f"samples are encoded prompts, with {', '.join(EncodedPrompt._fields)}, got {type(sample).__name__} with "
            f"{', '.join(map(str, fields)) or 'none of them'} at place {place}; {REMEDY}."
        )
    if not isinstance(fields["name"], str):
        raise ValueError(
            f"the name of a sample is a text, got {fields['name']!r} at place {place}; convert it by str."
        )
    arrays = {name: np.asarray(fields[name]) for name in ("ids", "types")}
    return EncodedPrompt(**{**fields, **arrays})


def check_row(config: LlavaConfig, row: EncodedPrompt, groups: tuple[int, ...] = ()) -> EncodedPrompt:
    """Check a prompt as `prepare` checks a batch, while it has no padding that would hide a fault.

    A prompt of text alone has no mean over image tokens, so IMAGE is not among its `groups`.

    Raises:
        ValueError: the prompt breaks a rule; the message names the prompt and the rule.
    """
    check_layout(row)
    if row.pixels is None and TokenType.IMAGE in groups:
        others = tuple(int(group) for group in groups if group != TokenType.IMAGE) or (int(TokenType.LAST),)
        raise ValueError(
            f"the group IMAGE needs image tokens, got text alone in sample {row.name!r}; capture text into a store of "
            f"its own, with groups={others}."
        )
    try:
        _check_image(config, row)
    except ValueError as error:
        raise ValueError(f"sample {row.name!r}: {error}") from error
    return row


def _check_image(config: LlavaConfig, row: EncodedPrompt) -> None:
    """Check ids, types, tiles and size of the image; its tiles must be as many as its size needs."""
    tiles = None if row.pixels is None else to_host_array("pixels", row.pixels)
    is_anyres = tiles is not None and config.pinpoints is not None
    prepare(
        config,
        [row.ids],
        tiles[None] if tiles is not None and is_anyres else tiles,
        image_sizes=None if row.image_size is None else [row.image_size],
        token_types=[row.types],
    )
    if tiles is not None and is_anyres:
        needed = tiles_needed(config, row.image_size)
        if (count := count_tiles(tiles)) > needed or len(tiles) < needed:
            raise tiles_error(row.image_size, needed, count)


def prompt_digest(row: EncodedPrompt) -> str:
    """A hash of tokens, types, image size and pixels of a prompt, in hexadecimal. It does not depend on the name."""
    digest = hashlib.sha256(repr(row.image_size and [int(side) for side in row.image_size]).encode())
    for array, dtype in ((row.ids, np.int64), (row.types, np.int64), (row.pixels, np.float32)):
        if array is not None:
            digest.update(np.ascontiguousarray(array, dtype).data)
    return digest.hexdigest()[:16]


def pending(
    rows: Iterable[EncodedPrompt],
    stored: Mapping[str, int],
    index: int,
    count: int,
    advance: Callable[[int], object],
    digests: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[int, EncodedPrompt]]:
    """Yield the prompts of a share that are not stored yet, each with its index among all samples.

    `advance` counts the prompts that are stored already. `digests` are hashes of stored prompts by name.

    Raises:
        ValueError: two prompts have one name, or a stored prompt has another index or another content.
    """
    names: dict[int, str] = {place: name for name, place in stored.items()}
    previous: set[str] = set()
    for place, row in enumerate(rows):
        if row.name in previous:
            raise ValueError(f"rows have names of their own, got {row.name!r} twice; rename one of them.")
        previous.add(row.name)
        if stored.get(row.name, place) != place or names.get(place, row.name) != row.name:
            raise ValueError(
                f"rows keep their places, got {row.name!r} at {place}, where the store has "
                f"{names.get(place)!r}; pass the samples in the same order as before, new ones last."
            )
        if place % count == index:
            if row.name in stored:
                if digests.get(row.name, digest := prompt_digest(row)) != digest:
                    raise ValueError(
                        f"rows keep their content, got other tokens or pixels for {row.name!r} than the store has; "
                        f"capture other samples into another folder."
                    )
                advance(1)
            else:
                yield place, row
