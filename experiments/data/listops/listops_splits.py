"""The splits of ListOps as arrays: generated or read once, and reused by every later run and program."""

import dataclasses
from pathlib import Path

from rich.console import Console

from experiments.data import arrays, listops
from experiments.data.preparation.file_hashes import FileHashes
from experiments.data.preparation.tfds_files import without_messages


@dataclasses.dataclass(frozen=True)
class ListOpsData:
    """A ListOps data set as arrays, with the interface that all data sets share."""

    config: listops.ListOpsConfig = listops.FULL
    """The data set."""
    max_len: int = 2000
    """Tokens of a row."""

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
        """Accuracies of predictors without a model; they depend on the splits, see `listops.baseline_accuracies`."""
        return {}

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits; see `prepare_listops`."""
        return prepare_listops(
            self.config, max_len=self.max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify
        )


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
    if manual_dir is not None and data.source == "lra_release":
        data = dataclasses.replace(data, content=listops.content_hash(manual_dir, FileHashes(data_dir)))
    with without_messages():
        builder = listops.ListOps(config=data, data_dir=str(data_dir), file_format="array_record")
    if not arrays.is_prepared(builder, max_len=max_len, data_dir=data_dir):
        if data.source == "lra_release" and manual_dir is not None:
            listops.check_release_lengths(manual_dir, data.sizes(), max_len)
        counts = " / ".join(f"{split} {size:,}" for split, size in data.sizes().items())
        verb = "reading" if data.source == "lra_release" else "generating"
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{verb} ListOps once, for this and later runs: {counts}", markup=False
        )
    return arrays.prepare(builder, max_len=max_len, data_dir=data_dir, manual_dir=manual_dir, verify=verify)
