"""The registry of data sets: name -> configurations. A new data set is one line.

A configuration is a frozen dataclass with the attributes of `DataConfig`. The first configuration of a name is its
default; the others are other sources of the same task.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from experiments.data import listops
from experiments.data.arrays import Split
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.recall import RecallConfig

Kind = Literal["symbols", "text", "image"]
RELEASE = "extract {folder} from lra_release.gz of the Long Range Arena (8 GB), and pass that folder as --manual-dir."


class DataConfig(Protocol):
    """What every configuration of a data set has."""

    @property
    def source(self) -> str:
        """Where the data come from."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each split."""
        ...

    @property
    def max_len(self) -> int:
        """Tokens of a row."""
        ...

    @property
    def title(self) -> str:
        """Name for tables; a stand-in says that it is one."""
        ...

    @property
    def is_stand_in(self) -> bool:
        """Whether the data take the place of those of the benchmark."""
        ...

    @property
    def floors(self) -> Mapping[str, float]:
        """Accuracies of trivial predictors by their names."""
        ...

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written its files to `data_dir` already."""
        ...

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> Mapping[str, Split]:
        """Return the splits; generate or read them once."""
        ...


class DataSet(NamedTuple):
    """A line of the registry."""

    kind: Kind
    """How a sample is shown: as symbols, as text of bytes, or as a square image of pixels."""
    configs: tuple[DataConfig, ...]
    """The configurations, one for each source."""
    instructions: Mapping[str, str] = {}
    """Source -> what a user does before `prepare`; a source without an entry needs nothing."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, the default first."""
        return tuple(config.source for config in self.configs)

    def config(self, source: str | None = None) -> DataConfig:
        """Return the configuration of a source, None for the default.

        Raises:
            ValueError: the data set has no such source.
        """
        for config in self.configs:
            if source in (None, config.source):
                return config
        raise ValueError(
            f"{self.configs[0].title} has the sources {', '.join(self.sources)}, got source={source!r}; choose among "
            f"them."
        )


LISTOPS_RELEASE = {"lra_release": RELEASE.format(folder="listops-1000")}

CATALOG: dict[str, DataSet] = {
    "listops": DataSet(
        "symbols", (ListOpsData(), ListOpsData(listops.RELEASE)), instructions=LISTOPS_RELEASE
    ),
    "listops-quick": DataSet("symbols", (ListOpsData(listops.QUICK, max_len=64),)),
    "mqar-64": DataSet("symbols", (RecallConfig(items=4, max_len=64),)),
    "mqar-128": DataSet("symbols", (RecallConfig(items=8, max_len=128),)),
    "mqar-256": DataSet("symbols", (RecallConfig(items=16, max_len=256),)),
    "mqar-512": DataSet("symbols", (RecallConfig(items=64, max_len=512),)),
    "mqar-two-hops": DataSet("symbols", (RecallConfig(items=4, hops=2, max_len=64),)),
    "mqar-quick": DataSet(
        "symbols", (RecallConfig(items=4, max_len=64, vocabulary=64, train=20_000, val=1_000, test=1_000),)
    ),
    "selective-copy": DataSet(
        "symbols",
        (
            RecallConfig(
                "selective_copy", vocabulary=16, items=16, max_len=4096, train=10_000, val=2_000, test=2_000
            ),
        ),
    ),
    "selective-copy-quick": DataSet(
        "symbols",
        (
            RecallConfig(
                "selective_copy", vocabulary=16, items=8, max_len=64, train=20_000, val=1_000, test=1_000
            ),
        ),
    ),
}
"""Name -> data set: every published size, and miniatures whose names end in -quick."""
