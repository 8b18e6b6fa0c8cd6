"""The splits of ListOps as arrays: generated or read once, and reused by every later run and program."""

import dataclasses
from pathlib import Path
from typing import Literal

from rich.console import Console

from experiments.data import arrays, listops
from experiments.data.file_hashes import FileHashes
from experiments.data.tfds_files import without_messages
from pid.interface.ranges import Count, Natural, Seed

FLOORS = {
    (500, 2000): {"majority": 0.174, "root_operator": 0.380, "depth_one": 0.554},
    (9, 65): {"majority": 0.150, "root_operator": 0.334, "depth_one": 0.646},
}
"""Bounds of the lengths -> accuracies of the predictors in `listops.baseline_accuracies`, measured once."""


@dataclasses.dataclass(frozen=True)
class ListOpsSplits:
    """A ListOps data set and the length of its rows.

    Raises:
        ValueError: a size or length is out of range, or sequences are longer than rows.
    """

    source: Literal["generated", "lra_release"] = "generated"
    """generated: random sequences from the generator of the benchmark; lra_release: its published files."""
    min_length: Natural = 500
    """Generated sequences have more tokens than this."""
    max_length: Count = 2000
    """Generated sequences have fewer tokens than this."""
    max_len: Count = 2000
    """Tokens of a row."""
    train: Count = 96_000
    """Training sequences."""
    val: Count = 2_000
    """Validation sequences."""
    test: Count = 2_000
    """Test sequences."""
    seed: Seed = 0
    """Seed of the generator."""

    def __post_init__(self) -> None:
        """Check that the data set exists and that its sequences fit."""
        self.listops()
        if self.source == "generated" and self.max_length - 1 > self.max_len:
            raise ValueError(
                f"sequences must fit their rows, got up to {self.max_length - 1} tokens for max_len={self.max_len}; "
                f"raise max_len or lower max_length."
            )

    def listops(self) -> listops.ListOpsConfig:
        """Return the configuration of the TFDS builder."""
        sizes = {"train": self.train, "val": self.val, "test": self.test}
        if self.source == "generated":
            lengths = {"min_length": self.min_length, "max_length": self.max_length}
            return listops.ListOpsConfig(**lengths, **sizes, seed=self.seed)
        is_whole = sizes == listops.RELEASE.sizes()
        return listops.RELEASE if is_whole else listops.ListOpsConfig(source=self.source, **sizes)

    @property
    def title(self) -> str:
        """Name for tables."""
        if self.source == "lra_release":
            return "ListOps (published)"
        return f"ListOps (generated, {self.min_length + 1} to {self.max_length - 1} tokens)"

    @property
    def is_stand_in(self) -> bool:
        """Whether the data take the place of the task: both sources are the task itself."""
        return False

    @property
    def floors(self) -> dict[str, float]:
        """Accuracies of predictors that read at most the first level of a tree, where they were measured."""
        return FLOORS.get((self.min_length, self.max_length), {})

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written the arrays already.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of published files, whose content then counts as well.
        """
        config = self.listops()
        if self.source == "lra_release" and manual_dir is None:
            *_, sizes = config.name.partition("lra_release")
            pattern = f"list_ops-lra_release-*{sizes}-*-{self.max_len}"
            return any(path.is_dir() for path in (data_dir / "arrays").glob(pattern))
        return arrays.is_prepared(
            make_builder(config, data_dir, manual_dir), max_len=self.max_len, data_dir=data_dir
        )

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits train, val and test; see `prepare_listops`.

        Raises:
            FileNotFoundError: published files are missing.
            ValueError: a published or prepared file is damaged.
        """
        if self.source == "lra_release" and manual_dir is None:
            raise FileNotFoundError(
                "source lra_release reads published files, got no --manual-dir; pass the folder listops-1000 of "
                "lra_release.gz."
            )
        return prepare_listops(
            self.listops(), max_len=self.max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify
        )


def make_builder(
    data: listops.ListOpsConfig, data_dir: Path, manual_dir: Path | None = None
) -> listops.ListOps:
    """Return the TFDS builder of a data set; the name of a published one has a hash of its files."""
    if manual_dir is not None and data.source == "lra_release":
        data = dataclasses.replace(data, content=listops.content_hash(manual_dir, FileHashes(data_dir)))
    with without_messages():
        return listops.ListOps(config=data, data_dir=str(data_dir), file_format="array_record")


def prepare_listops(
    data: listops.ListOpsConfig,
    *,
    max_len: int,
    data_dir: Path,
    manual_dir: Path | None,
    verify: bool = False,
) -> dict[str, arrays.Split]:
    """Return the splits; the first call generates or reads the data and says so, later ones reuse the files.

    Args:
        data: the data set.
        max_len: tokens of a row.
        data_dir: folder of prepared data.
        manual_dir: folder of the published files; None for generated data.
        verify: whether to read all prepared data again and compare its SHA-256.

    Raises:
        FileNotFoundError: published files are missing.
        ValueError: a published or prepared file is damaged, or its sequences are too long for `max_len`.
    """
    builder = make_builder(data, data_dir, manual_dir)
    if not arrays.is_prepared(builder, max_len=max_len, data_dir=data_dir):
        if data.source == "lra_release" and manual_dir is not None:
            listops.check_release_lengths(manual_dir, data.sizes(), max_len)
        counts = " / ".join(f"{split} {size:,}" for split, size in data.sizes().items())
        verb = "reading" if data.source == "lra_release" else "generating"
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{verb} ListOps once, for this and later runs: {counts}", markup=False
        )
    return arrays.prepare(builder, max_len=max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify)
