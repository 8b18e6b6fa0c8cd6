"""Options of the command line that choose a ListOps data set."""

import dataclasses
from typing import Literal

from experiments.data import listops
from pid.interface.ranges import Count, Natural, Seed

Source = Literal["generated", "lra_release"]


@dataclasses.dataclass(frozen=True)
class Generated:
    """The data set of --source generated; its splits share no sequence."""

    min_length: Natural = 500
    """Sequences have more tokens than this."""
    max_length: Count = 2000
    """Sequences have fewer tokens than this."""
    train: Count = 96_000
    """Training sequences."""
    val: Count = 2_000
    """Validation sequences; they select the best weights."""
    test: Count = 2_000
    """Test sequences; they select nothing."""
    seed: Seed = 0
    """Seed of the generator."""


@dataclasses.dataclass(frozen=True)
class Release:
    """The data set of --source lra_release. Smaller sizes take the first rows of each file, for a trial."""

    train: int = listops.RELEASE.train
    """Training sequences."""
    val: int = listops.RELEASE.val
    """Validation sequences."""
    test: int = listops.RELEASE.test
    """Test sequences."""

    def __post_init__(self) -> None:
        """Raise ValueError for a size that the published files do not have."""
        for split, largest in listops.RELEASE.sizes().items():
            if not 1 <= (size := getattr(self, split)) <= largest:
                raise ValueError(
                    f"the published file of {split} has {largest:,} rows, got release.{split}={size}; take 1 to "
                    f"{largest}."
                )


def listops_config(source: Source, generated: Generated, release: Release) -> listops.ListOpsConfig:
    """Return the configuration of the data set.

    Raises:
        ValueError: sizes or lengths are out of range.
    """
    if source == "lra_release":
        sizes = dataclasses.asdict(release)
        is_whole = sizes == listops.RELEASE.sizes()
        return listops.RELEASE if is_whole else listops.ListOpsConfig(source="lra_release", **sizes)
    return listops.ListOpsConfig(**dataclasses.asdict(generated))
