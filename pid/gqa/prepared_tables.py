"""Readers of the tables that the builder has prepared."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image, ImageOps

from pid.gqa.gqa_builder import GQA, GQAConfig
from pid.gqa.question import Mention, Question


def questions(builder: GQA, split: str) -> Iterator[Question]:
    """Iterate over the questions of a split, one in memory at a time, in the order of `as_data_source`.

    TFDS decodes one or two thousand rows a second on one CPU core; for the tasks, read a table with only_tasks=True.

    Args:
        builder: a `GQA` whose table is "questions" and whose split has been prepared.
        split: "train", "val" or "testdev".

    Returns:
        Iterator over the questions.

    Raises:
        ValueError: the builder has no such table or has not prepared that split of it.

    Example:
        >>> import tempfile
        >>> from pid import gqa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gqa.questions(gqa.GQA(data_dir=folder), "val")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: reading needs a table of questions with the split 'val', ...
    """
    source = _source(builder, "questions", split)
    return (_question(source[row]) for row in range(len(source)))


class Images(Mapping[str, UInt8[np.ndarray, "h w 3"]]):
    """Mapping from ids to the images of a split: uint8 (height, width, 3), gray images have three equal channels.

    Args:
        builder: a `GQA` whose table is "images" and whose split has been prepared.
        split: "train", "val" or "testdev".

    Raises:
        ValueError: the builder has no such table or has not prepared that split of it.

    Example:
        >>> import tempfile
        >>> from pid import gqa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gqa.Images(gqa.GQA(config=gqa.IMAGES, data_dir=folder), "val")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: reading needs a table of images with the split 'val', ...
    """

    def __init__(self, builder: GQA, split: str) -> None:
        """Open the table and number its images."""
        self._source = _source(builder, "images", split, decoders={"image": tfds.decode.SkipDecoding()})
        ids = cast(dict, builder.info.metadata)["image_ids"][split]
        self._rows = {image_id: row for row, image_id in enumerate(ids)}

    def __getitem__(self, image_id: str) -> UInt8[np.ndarray, "h w 3"]:
        """Decode the image with this id, upright by its EXIF orientation.

        Raises:
            ValueError: the file is damaged.
        """
        data = self.jpeg(image_id)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for a broken header
            raise ValueError(
                f"an image is a whole JPEG file, got {image_id}.jpg of {len(data)} bytes: {error}; download images.zip "
                f"again and build the table anew."
            ) from error

    def jpeg(self, image_id: str) -> bytes:
        """Return the JPEG file itself, for a processor that decodes it itself."""
        return self._source[self._rows[image_id]]["image"]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids, in order."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._rows)


def _source(builder: GQA, table: str, split: str, **options: Any) -> Any:
    config, prepared = cast(GQAConfig, builder.builder_config), list(builder.info.splits)
    if config.table != table or split not in prepared:
        raise ValueError(
            f"reading needs a table of {table} with the split {split!r}, got {config.name} with "
            f"{prepared or 'nothing'} prepared; take GQAConfig(table={table!r}, splits=({split!r},)) and call "
            "download_and_prepare."
        )
    open_source: Any = builder.as_data_source  # a decorator hides its arguments from type checkers
    return open_source(split, **options)


def _question(example: Mapping[str, Any]) -> Question:
    texts = {name: value.decode() for name, value in example.items() if isinstance(value, bytes)}
    columns = example["mentions"]
    mentions = zip(*(columns[name] for name in Mention._fields), strict=True)
    return Question(
        **texts,
        is_balanced=bool(example["is_balanced"]),
        mentions=tuple(Mention(*(field.decode() for field in fields)) for fields in mentions),
    )
