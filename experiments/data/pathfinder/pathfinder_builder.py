"""Pathfinder as a TFDS data set, in array_record files, without TensorFlow."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from experiments.data.preparation.row_builder import VOCABULARIES

Rows = Iterator[tuple[UInt8[np.ndarray, " T"], int]]
"""Pixels and label, image by image."""
Shards = Mapping[str, list[Callable[[], Rows]]]
"""For every split, the functions that read its shards."""


@dataclasses.dataclass(eq=False, kw_only=True)
class PathfinderOptions(tfds.core.BuilderConfig):
    """All options that the images depend on."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options by name, for the manifest."""


class Pathfinder(tfds.core.ShardBasedBuilder):
    """Splits with examples {"tokens": uint8 (T,), "label": 0 or 1}; tokens are gray values, row by row.

    Args:
        config: the options.
        shards: function that makes the images and returns, for every split, the functions that read them.
        kwargs: other arguments of a TFDS builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = []
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(self, *, config: PathfinderOptions, shards: Callable[[], Shards], **kwargs: Any):
        """Make the builder."""
        self._make_shards = shards
        super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=list(VOCABULARIES["pixel"]), first_id=1),
            disable_shuffling=True,  # the images are in a random order already
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, list[Any]]:
        return {
            split: [_Examples(number, read) for number, read in enumerate(readers)]
            for split, readers in self._make_shards().items()
        }


class _Examples:
    """The examples of a shard, with keys."""

    def __init__(self, number: int, read: Callable[[], Rows]):
        self._number, self._read = number, read

    def __call__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for row, (tokens, label) in enumerate(self._read()):
            yield f"{self._number}-{row}", {"tokens": tokens, "label": label}
