"""ListOps as a TFDS data set, in array_record files, without TensorFlow."""

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console
from rich.progress import track

from experiments.data.listops.generator import Row, check_lengths, distinct
from experiments.data.listops.grammar import CLASSES, VOCABULARY, encode
from experiments.data.listops.release import read_tsv

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(eq=False, kw_only=True)
class ListOpsConfig(tfds.core.BuilderConfig):
    """All that the examples depend on. The name is made from it, so two different sets never share a folder.

    Raises ValueError for an unknown source, an empty split, a negative seed or lengths no sequence has.
    """

    name: str = dataclasses.field(default="", init=False)
    source: Literal["generated", "lra_release"] = "generated"
    """`lra_release` reads `basic_{train,val,test}.tsv` from the manual folder; they must have these sizes."""
    min_length: int = 500
    """Generated sequences have more tokens than this."""
    max_length: int = 2000
    """Generated sequences have fewer tokens than this."""
    train: int = 96_000
    val: int = 2_000
    test: int = 2_000
    seed: int = 0

    def __post_init__(self):
        sizes = (self.train, self.val, self.test)
        if self.source not in ("generated", "lra_release") or min(sizes) < 1 or self.seed < 0:
            raise ValueError(
                "ListOps needs source 'generated' or 'lra_release', split sizes >= 1 and seed >= 0, got "
                f"source={self.source!r}, sizes={sizes}, seed={self.seed}; correct the configuration."
            )
        check_lengths(self.min_length, self.max_length)
        drawn = (self.min_length, self.max_length, f"seed{self.seed}") if self.source == "generated" else ()
        self.name = "-".join(map(str, (self.source, *drawn, *sizes)))


FULL = ListOpsConfig()
"""The benchmark's lengths and sizes, drawn as it was drawn; not the published sequences."""
QUICK = ListOpsConfig(min_length=9, max_length=65, train=20_000)
"""10 to 64 tokens."""
RELEASE = ListOpsConfig(source="lra_release")
"""The published files."""


class ListOps(tfds.core.GeneratorBasedBuilder):
    """Splits train, val and test of examples {"tokens": uint8 (T,), "label": 0 to 9}.

    `ListOps(config=QUICK, data_dir="data", file_format="array_record")` works without TensorFlow. The
    splits of a generated set are pairwise disjoint. `info.metadata["vocabulary"]` is the list of symbols
    in the order of their ids.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [FULL, QUICK, RELEASE]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Extract listops-1000 from lra_release.gz of the Long Range Arena and pass that folder."
    )
    code_path = None  # TFDS would look for checksums beside this file with a package it does not install

    def __init__(self, *, config: ListOpsConfig | str = QUICK, **kwargs):
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

    def _split_generators(self, dl_manager):
        config = cast(ListOpsConfig, self.builder_config)
        sizes = {split: getattr(config, split) for split in SPLITS}
        if config.source == "lra_release":
            rows = {split: _release(Path(dl_manager.manual_dir), split, sizes[split]) for split in SPLITS}
        else:
            drawn = iter(
                distinct(
                    sum(sizes.values()),
                    seed=config.seed,
                    min_length=config.min_length,
                    max_length=config.max_length,
                )
            )
            rows = {split: list(itertools.islice(drawn, sizes[split])) for split in SPLITS}
        return {split: self._generate_examples(rows[split]) for split in SPLITS}

    def _generate_examples(self, rows: Iterable[Row]):
        for index, row in enumerate(rows):
            yield index, {"tokens": np.frombuffer(row.ids, np.uint8), "label": row.label}


def _release(folder: Path, split: str, rows: int) -> list[Row]:
    pairs = read_tsv(folder / f"basic_{split}.tsv", rows=rows)
    console = Console(stderr=True)
    return [
        Row(encode(tokens).tobytes(), label)
        for tokens, label in track(pairs, f"Reading ListOps {split}", rows, console=console)
    ]
