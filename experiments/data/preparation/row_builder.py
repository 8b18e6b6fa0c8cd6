"""A TFDS data set of rows of bytes, pixels or ids, written in the order of its source while it is read.

The builders that shuffle hold up to 1 GB of a split in memory, and beyond it they need TensorFlow. This one holds one
shard and needs none.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8, UInt16

from experiments.data.preparation.counter import counted

ROWS_PER_SHARD = 2048
VOCABULARIES = {
    "byte": ("pad", *(chr(v) if 32 < v < 127 else f"0x{v:02x}" for v in range(256))),
    "pixel": ("pad", *(str(v) for v in range(256))),
}
"""Symbols in the order of their ids: the id of value v is v + 1, so that black is no padding."""


class Row(NamedTuple):
    """One example."""

    label: int
    """Class of the example."""
    tokens: UInt8[np.ndarray, " t"] | UInt16[np.ndarray, " t"]
    """Bytes, pixels or ids."""
    second: UInt8[np.ndarray, " s"] | None = None
    """Bytes of the other text of a pair."""


class RowSource(NamedTuple):
    """The rows of one split."""

    count: int
    """Number of rows."""
    read: Callable[[], Iterable[Row]]
    """Function that reads them from the first one on."""


@dataclasses.dataclass(eq=False, kw_only=True)
class RowConfig(tfds.core.BuilderConfig):
    """All options that the rows depend on."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options by name, for the manifest."""
    unit: Literal["byte", "pixel", "id"] = "byte"
    """What a token is. Ids belong to a vocabulary, which the builder has."""
    classes: int = 2
    """Number of labels."""
    pairs: bool = False
    """Whether every example has two texts."""


class ByteRows(tfds.core.ShardBasedBuilder):
    """Splits with examples {"tokens": uint8 (t,), "label"}, and of pairs {"tokens", "second", "label"}.

    The stored values are bytes or pixels, and ids are one more (`info.metadata["first_id"]` is 1). With a vocabulary
    the values are ids, uint8 up to 256 symbols and uint16 beyond.

    Args:
        config: the options of the data set.
        sources: rows of every split.
        title: name of the data set, for the progress.
        vocabulary: symbols of ids in their order, padding first; empty for bytes and pixels.
        kwargs: other arguments of a TFDS builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = []
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(
        self,
        *,
        config: RowConfig,
        sources: Mapping[str, RowSource],
        title: str = "rows",
        vocabulary: Sequence[str] = (),
        **kwargs: Any,
    ):
        """Make the builder of a configuration."""
        self._rows, self._row_config, self._title = dict(sources), config, title
        self._vocabulary = list(vocabulary) or list(VOCABULARIES.get(config.unit, ()))
        super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self._row_config
        names = ("tokens", "second") if config.pairs else ("tokens",)
        is_id = config.unit == "id"
        dtype = id_type(len(self._vocabulary)) if is_id else np.uint8
        # Without this encoding every byte becomes an integer of variable length, which takes seven times as long.
        encoding = tfds.features.Encoding.BYTES
        features: dict[str, Any] = {
            name: tfds.features.Tensor(shape=(None,), dtype=dtype, encoding=encoding) for name in names
        }
        features["label"] = tfds.features.ClassLabel(num_classes=config.classes)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=self._vocabulary, first_id=0 if is_id else 1),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, list[Any]]:
        return {split: self._shards(split, source) for split, source in self._rows.items()}

    def _shards(self, split: str, source: RowSource) -> list[Callable[[], Iterator[tuple[int, Any]]]]:
        """Return a function for each shard; TFDS calls them in turn, and they share one iterator."""
        rows = self._examples(split, source)
        shards = max(1, -(-source.count // ROWS_PER_SHARD))
        # The last shard takes all that is left, so that the reader comes to the end of its file and checks it.
        sizes = [*itertools.repeat(ROWS_PER_SHARD, shards - 1), None]
        return [functools.partial(itertools.islice, rows, size) for size in sizes]

    def _examples(self, split: str, source: RowSource) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        rows = counted(source.read(), f"writing {self._title}, {split}", source.count)
        for number, row in enumerate(rows, start=1):
            example = {"tokens": row.tokens, "label": row.label}
            yield number - 1, example if row.second is None else example | {"second": row.second}
        if number != source.count:
            raise ValueError(
                f"{split} of {self._title} needs {source.count:,} rows, got {number:,} from its source; correct its "
                f"size, or download the source again."
            )


def id_type(symbols: int) -> type[np.uint8] | type[np.uint16]:
    """Return the type of the ids of a vocabulary.

    Raises:
        ValueError: it has more symbols than ids.
    """
    if symbols > 2**16:
        raise ValueError(
            f"ids of tokens are stored as uint16, got {symbols:,} symbols; take a vocabulary of up to 65,536."
        )
    return np.uint8 if symbols <= 2**8 else np.uint16


def to_tokens(text: bytes, max_len: int) -> UInt8[np.ndarray, " t"]:
    """Return the first `max_len` bytes of a text; an empty text is one space, so that no row is padding alone.

    Args:
        text: the text.
        max_len: largest number of bytes.
    """
    return np.frombuffer(text[:max_len] or b" ", np.uint8)
