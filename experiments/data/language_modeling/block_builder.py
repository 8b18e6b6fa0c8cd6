"""Packed blocks of T + 1 ids without padding as a TFDS data set.

The documents of a split follow one another, each with its end. Block i has the ids iT to iT + T: a model reads the
first T of them and predicts the last T, so every id but the first one of a split is predicted once. What is left at
the end, less than T ids, is dropped.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32

from experiments.data.language_modeling.text_units import Encoder, Units
from experiments.data.preparation.counter import counted

BLOCKS_PER_SHARD = 2048
BYTES_PER_UNIT = 16
"""More than a unit stands for on average, so that no shard stays empty."""


class Documents(NamedTuple):
    """The documents of a split."""

    count: int
    """Number of documents, for the progress."""
    size: int
    """Bytes of all documents."""
    read: Callable[[], Iterable[bytes]]
    """Function that reads them from the first one on."""


class Block(NamedTuple):
    """T + 1 ids, and the text that the last T of them stand for."""

    ids: Int32[np.ndarray, " t1"]
    text: tuple[int, int]
    """Bytes and words."""


@dataclasses.dataclass(eq=False, kw_only=True)
class BlockConfig(tfds.core.BuilderConfig):
    """All options that the blocks depend on."""

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Option -> value, for the manifest."""


class LanguageBlocks(tfds.core.ShardBasedBuilder):
    """Splits with examples {"tokens": ids (T + 1,), "labels": int32 (2,), bytes and words of the last T ids}."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = []
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(
        self,
        *,
        config: BlockConfig,
        length: int,
        encoder: Encoder,
        documents: Mapping[str, Documents],
        **options: Any,
    ) -> None:
        """Make the builder.

        Args:
            config: name and options.
            length: T.
            encoder: encoder of the documents.
            documents: those of every split; none to look only whether the blocks are there.
            options: `data_dir` and `file_format` of TFDS.
        """
        self._length, self._encoder, self._documents = length, encoder, dict(documents)
        super().__init__(config=config, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        encoding = tfds.features.Encoding.BYTES
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=self._encoder.dtype, encoding=encoding),
            "labels": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=list(self._encoder.vocabulary), first_id=0, classes=0),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, list[Any]]:
        del dl_manager
        return {split: self._shards(split, documents) for split, documents in self._documents.items()}

    def _shards(self, split: str, documents: Documents) -> list[Callable[[], Iterator[tuple[int, Any]]]]:
        """Return a function for each shard; TFDS calls them in turn, and they share one iterator."""
        examples = self._examples(split, documents)
        full = documents.size // (BYTES_PER_UNIT * self._length * BLOCKS_PER_SHARD)
        sizes = [*itertools.repeat(BLOCKS_PER_SHARD, full), None]  # the last one takes what is left
        return [functools.partial(itertools.islice, examples, size) for size in sizes]

    def _examples(self, split: str, documents: Documents) -> Iterator[tuple[int, dict[str, Any]]]:
        texts = counted(documents.read(), f"writing documents of {split}", documents.count)
        number = 0
        for number, block in enumerate(pack(map(self._encoder.encode, texts), self._length), start=1):
            yield (
                number - 1,
                {"tokens": block.ids.astype(self._encoder.dtype), "labels": np.array(block.text, np.int32)},
            )
        if not number:
            raise ValueError(
                f"a split has at least one block of {self._length + 1} ids, got fewer ids in {split}; lower the "
                f"length, or use more text."
            )


def pack(documents: Iterable[Units], length: int) -> Iterator[Block]:
    """Yield the blocks of T + 1 ids of documents in a row; neighbors share one id.

    Args:
        documents: units of the documents, with their ends.
        length: T.

    Example:
        >>> from experiments.data.language_modeling.block_builder import pack
        >>> from experiments.data.language_modeling.text_units import byte_encoder
        >>> [(bytes(block.ids.tolist()), block.text) for block in pack([byte_encoder().encode(b"to be")], length=2)]
        [(b'to ', (2, 0)), (b' be', (2, 1))]
    """
    rest = np.zeros((3, 0), np.int32)
    for units in documents:
        rest = np.concatenate([rest, np.stack(units)], axis=1)
        count = (rest.shape[1] - 1) // length
        for start in range(0, count * length, length):
            ids, bytes_, words = rest[:, start : start + length + 1]
            yield Block(ids, (int(bytes_[1:].sum()), int(words[1:].sum())))
        rest = rest[:, max(count, 0) * length :]
