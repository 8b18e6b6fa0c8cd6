"""The splits of ListOps as arrays: generated or read once, and reused by every later run and program."""

import dataclasses
from pathlib import Path

from experiments.data import arrays, listops
from experiments.data.preparation.counter import announce
from experiments.data.preparation.file_hashes import FileHashes, known_content
from experiments.data.preparation.tfds_files import without_messages

FLOORS = {
    (500, 2000): {"majority": 0.174, "root_operator": 0.380, "depth_one": 0.554},
    (9, 65): {"majority": 0.150, "root_operator": 0.334, "depth_one": 0.646},
}
"""Bounds of the lengths -> accuracies of `listops.baseline_accuracies` on generated sequences, measured once."""


@dataclasses.dataclass(frozen=True)
class ListOpsData:
    """A ListOps data set as arrays, with the interface that all data sets share."""

    config: listops.ListOpsConfig = listops.FULL
    """The data set."""
    max_len: int = 2000
    """Tokens of a row."""

    @property
    def source(self) -> str:
        """Where the data come from."""
        return self.config.source

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return self.config.sizes()

    @property
    def title(self) -> str:
        """Name in tables."""
        return f"ListOps ({'published files' if self.config.source == 'lra_release' else 'generated'})"

    @property
    def is_stand_in(self) -> bool:
        """Whether the data only replace those of the benchmark: never, because the generator is the same."""
        return False

    @property
    def floors(self) -> dict[str, float]:
        """Accuracies of predictors without a model, for lengths where they were measured.

        They depend on the splits a little; `listops.baseline_accuracies` measures them.
        """
        config = self.config
        return FLOORS.get((config.min_length, config.max_length), {})

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written the arrays already.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of published files. With it, arrays of other published files do not count.
        """
        config = self.config
        if self.source == "lra_release":
            content = known_content(
                lambda folder: listops.content_hash(folder, FileHashes(data_dir)), manual_dir
            )
            if content is None:
                return False
            config = dataclasses.replace(config, content=content)
        return arrays.is_prepared(make_builder(config, data_dir), max_len=self.max_len, data_dir=data_dir)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits; see `prepare_listops`.

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
            self.config, max_len=self.max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify
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
        announce("reading" if data.source == "lra_release" else "generating", "ListOps", data.sizes())
    return arrays.prepare(builder, max_len=max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify)
