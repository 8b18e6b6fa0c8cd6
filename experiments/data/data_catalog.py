"""The registry of data sets: name -> configurations. A new data set is one line.

A configuration is a frozen dataclass with the attributes of `DataConfig`. The first configuration of a name is its
default; the others are other sources of the same task. The miniatures are those of the quick presets of
`experiments.lra`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from experiments.data import listops
from experiments.data.arrays import Split
from experiments.data.image import ImageConfig
from experiments.data.image.image_config import ImageSource
from experiments.data.language_modeling import CorpusConfig
from experiments.data.language_modeling.corpus_config import CorpusSource, Unit
from experiments.data.listops.listops_splits import ListOpsData
from experiments.data.pathfinder import PathfinderConfig
from experiments.data.pathfinder.pathfinder_release import CONTOUR_FOLDERS
from experiments.data.recall import RecallConfig
from experiments.data.retrieval import RetrievalConfig
from experiments.data.retrieval.retrieval_config import RetrievalSource
from experiments.data.text import TextConfig
from experiments.data.text.corpora import CORPORA, TokenText
from experiments.data.text.corpora.published_corpora import FILES, TFDS_NAMES
from experiments.data.text.text_config import TextSource

Kind = Literal["symbols", "text", "image"]
RELEASE = "extract {folder} from lra_release.gz of the Long Range Arena (8 GB), and pass that folder as --manual-dir."
PARQUET = "download the folder {folder} of {repository} from huggingface.co, and pass it as --manual-dir."
ARCHIVE = "download {file} from {place}, and pass its folder as --manual-dir."
TFDS = (
    "run `tfds build {name} --file_format=array_record --data_dir=FOLDER` where tensorflow and importlib_resources are "
    "installed, and pass FOLDER as --manual-dir; if they are installed here, leave --manual-dir out."
)
FROM_FOLDER = ("original", "huggingface", "lra_release", "wikitext103")
"""Sources whose published files are in the manual folder at every start, because their hash names the arrays."""
PUBLISHED_LENGTH = 4000
"""Bytes at which the tables of the benchmark cut a text."""


class DataConfig(Protocol):
    """What every configuration of a data set has."""

    @property
    def source(self) -> str:
        """Where the data come from."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each split; a text whose length only its files tell has no entries."""
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


def _listops() -> dict[str, DataSet]:
    full = (ListOpsData(), ListOpsData(listops.RELEASE))
    return {
        "listops": DataSet("symbols", full, {"lra_release": RELEASE.format(folder="listops-1000")}),
        "listops-quick": DataSet("symbols", (ListOpsData(listops.QUICK, max_len=64),)),
    }


def _text() -> dict[str, DataSet]:
    instructions = {
        "tfds": TFDS.format(name="imdb_reviews"),
        "original": ARCHIVE.format(file="aclImdb_v1.tar.gz", place="ai.stanford.edu/~amaas/data/sentiment"),
    }
    published: tuple[TextSource, ...] = ("tfds", "original")
    sources: tuple[TextSource, ...] = (*published, "offline:polarity", "offline:spam-assassin")
    held_out = tuple(TextConfig(source, max_len=PUBLISHED_LENGTH) for source in sources)
    on_test = tuple(TextConfig(source, "lra_protocol", PUBLISHED_LENGTH) for source in published)
    return {
        "text": DataSet("text", held_out, instructions),
        "text-lra-protocol": DataSet("text", on_test, instructions),
        "text-quick": DataSet("text", (TextConfig("offline:spam-assassin", max_len=512),)),
    }


def _corpora() -> dict[str, DataSet]:
    def sources(name: str, **options: Any) -> DataSet:
        archive = ARCHIVE.format(file="aclImdb_v1.tar.gz", place="ai.stanford.edu/~amaas/data/sentiment")
        repository, folder = FILES[name]
        instructions = {
            "tfds": TFDS.format(name=TFDS_NAMES[name]),
            "huggingface": PARQUET.format(folder=folder, repository=repository),
            "original": archive,
        }
        facts = CORPORA[name]
        options = {"max_len": facts.max_len} | options
        configs = tuple(TokenText(name, source, **options) for source in facts.sources)
        return DataSet(
            "symbols", configs, {name: instructions[name] for name in facts.sources if name in instructions}
        )

    return {
        "imdb": sources("imdb"),
        "ag-news": sources("ag-news"),
        "sst2": sources("sst2"),
        "char-imdb": sources("imdb", tokens="characters", max_len=2048),
        "documentation": DataSet("symbols", (TokenText(),)),
    }


def _retrieval() -> dict[str, DataSet]:
    sources: tuple[RetrievalSource, ...] = ("lra_release", "offline:20newsgroups", "offline:bbc")
    quick = RetrievalConfig("offline:bbc", max_len=256, train=4000, val=500, test=1000)
    return {
        "retrieval": DataSet(
            "text",
            tuple(RetrievalConfig(source, PUBLISHED_LENGTH) for source in sources),
            {"lra_release": RELEASE.format(folder="tsv_data")},
        ),
        "retrieval-quick": DataSet("text", (quick,)),
    }


def _image() -> dict[str, DataSet]:
    instructions = {
        "tfds": TFDS.format(name="cifar10"),
        "original": ARCHIVE.format(file="cifar-10-binary.tar.gz", place="cs.toronto.edu/~kriz/cifar.html"),
    }
    sources: tuple[ImageSource, ...] = ("tfds", "original", "offline:fashion-mnist", "offline:mnist")
    quick = ImageConfig("offline:fashion-mnist", train=8000, val=500, test=1000)
    return {
        "image": DataSet("image", tuple(map(ImageConfig, sources)), instructions),
        "image-quick": DataSet("image", (quick,)),
    }


def _pathfinder() -> dict[str, DataSet]:
    def both(size: int, contour: int) -> DataSet:
        release = RELEASE.format(folder=f"pathfinder{size}/{CONTOUR_FOLDERS[contour]}")
        configs = (
            PathfinderConfig(size=size, contour=contour),
            PathfinderConfig("lra_release", size, contour),
        )
        return DataSet("image", configs, {"lra_release": release})

    quick = PathfinderConfig(contour=6, train=8000, val=500, test=1000)
    long_quick = PathfinderConfig(size=64, contour=6, train=1000, val=100, test=200)
    return {
        "pathfinder32": both(32, 14),
        "pathfinder32-intermediate": both(32, 9),
        "pathfinder32-easy": both(32, 6),
        "pathfinder-quick": DataSet("image", (quick,)),
        "pathx": both(128, 14),
        "pathx-quick": DataSet("image", (long_quick,)),
    }


def _language_modeling() -> dict[str, DataSet]:
    def files(archive: str, release: str) -> str:
        return (
            f"put wiki.train.{release}, wiki.valid.{release} and wiki.test.{release}, or {archive}, or the folder "
            f"{archive.removesuffix('.zip')} of Salesforce/wikitext on Hugging Face into a folder, and pass it as "
            f"--manual-dir."
        )

    def by(unit: Unit, *sources: CorpusSource) -> tuple[CorpusConfig, ...]:
        return tuple(CorpusConfig(source, unit) for source in sources)

    raw, tokens = files("wikitext-103-raw-v1.zip", "raw"), files("wikitext-103-v1.zip", "tokens")
    return {
        "wikitext103": DataSet("symbols", by("byte", "wikitext103", "offline:brown"), {"wikitext103": raw}),
        "wikitext103-words": DataSet(
            "symbols", by("word", "wikitext103", "offline:brown"), {"wikitext103": tokens}
        ),
        "language-quick": DataSet("symbols", (CorpusConfig(max_len=128),)),
    }


CATALOG: dict[str, DataSet] = {
    **_listops(),
    **_text(),
    **_corpora(),
    **_retrieval(),
    **_image(),
    **_pathfinder(),
    **_language_modeling(),
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
