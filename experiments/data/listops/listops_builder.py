"""ListOps as a TFDS data set, in array_record files, without TensorFlow."""

import dataclasses
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import tensorflow_datasets as tfds

from experiments.data.listops.distinct_sequences import Row, distinct
from experiments.data.listops.generator import check_lengths
from experiments.data.listops.grammar import CLASSES, VOCABULARY, encode
from experiments.data.listops.release import SPLITS, published_files, read_tsv
from experiments.data.preparation.counter import counted


@dataclasses.dataclass(eq=False, kw_only=True)
class ListOpsConfig(tfds.core.BuilderConfig):
    """All options that the examples depend on.

    The name is made from the other fields, so two different data sets never share a folder.

    Raises:
        ValueError: the source is unknown, a split is empty, the seed is negative, or no sequence has the lengths.
    """

    name: str = dataclasses.field(default="", init=False)
    """Name of the data set, made from the other fields."""
    source: Literal["generated", "lra_release"] = "generated"
    """`lra_release` reads `basic_{train,val,test}.tsv` from the manual folder; smaller sizes take the first rows."""
    content: str = ""
    """SHA-256 of the published files (`content_hash`), so that other files never share a folder."""
    min_length: int = 500
    """Generated sequences have more tokens than this."""
    max_length: int = 2000
    """Generated sequences have fewer tokens than this."""
    train: int = 96_000
    """Training sequences."""
    val: int = 2_000
    """Validation sequences."""
    test: int = 2_000
    """Test sequences."""
    seed: int = 0
    """Seed of the generator."""

    def __post_init__(self):
        """Check the options, and make the name."""
        sizes = (self.train, self.val, self.test)
        if self.source not in ("generated", "lra_release") or min(sizes) < 1 or self.seed < 0:
            raise ValueError(
                "ListOps needs source 'generated' or 'lra_release', split sizes >= 1 and seed >= 0, got "
                f"source={self.source!r}, sizes={sizes}, seed={self.seed}; correct the configuration."
            )
        check_lengths(self.min_length, self.max_length)
        stream = (self.min_length, self.max_length, f"seed{self.seed}") if self.source == "generated" else ()
        content = (self.content[:8],) if self.content else ()
        self.name = "-".join(map(str, (self.source, *content, *stream, *sizes)))

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return {"train": self.train, "val": self.val, "test": self.test}


FULL = ListOpsConfig()
"""Lengths, sizes and distribution of the benchmark, but not its published sequences."""
QUICK = ListOpsConfig(min_length=9, max_length=65, train=20_000)
"""Generated sequences of 10 to 64 tokens."""
RELEASE = ListOpsConfig(source="lra_release")
"""The published files."""


class ListOps(tfds.core.GeneratorBasedBuilder):
    """The splits train, val and test, with examples {"tokens": uint8 (T,), "label": 0 to 9}.

    `ListOps(config=QUICK, data_dir="data", file_format="array_record")` works without TensorFlow. The splits of a
    generated set are pairwise disjoint. `info.metadata["vocabulary"]` lists the symbols in the order of their ids.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [FULL, QUICK, RELEASE]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Extract listops-1000 from lra_release.gz of the Long Range Arena and pass that folder."
    )
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(self, *, config: ListOpsConfig | str = QUICK, **kwargs: Any):
        """Make the builder of a configuration, or of the preset with this name."""
        presets = {preset.name: preset for preset in self.BUILDER_CONFIGS}
        name = config if isinstance(config, str) else config.name
        super().__init__(config=presets.get(name, config), **kwargs)  # TFDS refuses an equal copy

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(vocabulary=list(VOCABULARY)),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Generate or read the examples, and write them. What a kill has left of a generation is continued."""
        super().download_and_prepare(**kwargs)
        shutil.rmtree(self._shards(), ignore_errors=True)

    def _shards(self) -> Path:
        """Return the folder of the sequences that are generated already."""
        config = cast(ListOpsConfig, self.builder_config)
        stream = (self.version, config.min_length, config.max_length, f"seed{config.seed}")
        parts = ("generation", self.name, *stream, sum(config.sizes().values()))
        return Path(self.data_dir_root) / "-".join(map(str, parts))

    def _split_generators(self, dl_manager: Any):
        config = cast(ListOpsConfig, self.builder_config)
        if config.source == "lra_release":
            paths = published_files(Path(dl_manager.manual_dir))
            rows = {split: _release(paths[split], split, size) for split, size in config.sizes().items()}
        else:
            sequences = iter(
                distinct(
                    sum(config.sizes().values()),
                    seed=config.seed,
                    min_length=config.min_length,
                    max_length=config.max_length,
                    shards=self._shards(),
                )
            )
            rows = {split: list(itertools.islice(sequences, size)) for split, size in config.sizes().items()}
        return {split: self._generate_examples(rows[split], split) for split in SPLITS}

    def _generate_examples(self, rows: Sequence[Row], split: str):
        for index, row in enumerate(counted(rows, f"writing ListOps {split}", len(rows))):
            yield index, {"tokens": np.frombuffer(row.ids, np.uint8), "label": row.label}


def _release(path: Path, split: str, rows: int) -> list[Row]:
    pairs = read_tsv(path, rows=rows, exact=rows == RELEASE.sizes()[split])
    return [
        Row(encode(tokens).tobytes(), label)
        for tokens, label in counted(pairs, f"reading ListOps {split}", rows)
    ]
