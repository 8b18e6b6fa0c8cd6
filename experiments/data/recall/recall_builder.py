"""Rows with labels of tokens as a TFDS data set, in array_record files, without TensorFlow."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from experiments.data.preparation.counter import counted
from experiments.data.recall.mqar import RecallRows

Blocks = Callable[[str], Iterator[RecallRows]]
"""Name of a split -> its rows, block by block."""


@dataclasses.dataclass(eq=False, kw_only=True)
class RecallFiles(tfds.core.BuilderConfig):
    """All options that the examples depend on."""

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Option -> value."""
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Split -> number of rows."""


class Recall(tfds.core.GeneratorBasedBuilder):
    """The splits train, val and test, with examples {"tokens": uint8 (T,), "labels": int32 (T,), -1 without a label}.

    `info.metadata` has the symbols in the order of their ids (`vocabulary`), the smallest id of a stored value
    (`first_id`, 0: the values are ids) and the number of labels (`classes`).
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(
        self, *, config: RecallFiles, blocks: Blocks, vocabulary: tuple[str, ...], **options: Any
    ) -> None:
        """Make the builder of a configuration.

        Args:
            config: name, options and sizes.
            blocks: the rows of a split.
            vocabulary: symbols in the order of their ids; a label is an id, too.
            options: `data_dir` and `file_format` of TFDS.
        """
        self._blocks, self._vocabulary = blocks, vocabulary
        super().__init__(config=config, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            "labels": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }
        metadata = {
            "vocabulary": list(self._vocabulary),
            "first_id": 0,
            "classes": len(self._vocabulary),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(**metadata),
            disable_shuffling=True,  # a row keeps its number
        )

    def _split_generators(self, dl_manager: Any):
        del dl_manager
        config: Any = self.builder_config
        return {split: self._generate_examples(split, size) for split, size in config.sizes.items()}

    def _generate_examples(self, split: str, size: int):
        rows = (pair for block in self._blocks(split) for pair in zip(*block, strict=True))
        for index, (tokens, labels) in enumerate(counted(rows, f"writing {self.name} {split}", size)):
            yield index, {"tokens": tokens, "labels": labels}
