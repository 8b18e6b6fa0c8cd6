"""The configuration of a text for language modeling, and its splits as arrays."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from experiments.data import arrays, offline
from experiments.data.language_modeling import wikitext
from experiments.data.language_modeling.block_builder import BlockConfig, Documents, LanguageBlocks
from experiments.data.language_modeling.free_texts import (
    brown_corpus,
    manual_hash,
    manual_title,
    python_manual,
)
from experiments.data.language_modeling.text_units import (
    Encoder,
    byte_encoder,
    frequent_words,
    piece_encoder,
    word_encoder,
)
from experiments.data.preparation.counter import announce
from experiments.data.preparation.file_hashes import FileHashes, joint_hash, known_content
from experiments.data.preparation.shuffling import shuffled_order
from experiments.data.preparation.tfds_files import without_messages
from experiments.run.folder.atomic_files import write_atomically
from pid.interface.command_options import HIDDEN
from pid.interface.ranges import Count, Seed

CorpusSource = Literal["python-manual", "offline:brown", "wikitext103"]
Unit = Literal["byte", "word", "piece"]
SOURCES = ("python-manual", "offline:brown", "wikitext103")
ARTICLES = {"train": 28_475, "val": 60, "test": 60}
"""Articles of WikiText-103 by its authors' count, for the progress alone."""
HELD_OUT = 10
"""One document of so many is for validation, and one for the test, where the source has no splits."""


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """A text as packed blocks of bytes, words or pieces of words; every document belongs to one split.

    Raises:
        ValueError: a field is out of range, or the tokenizer and the unit contradict each other.
    """

    source: CorpusSource = "python-manual"
    """python-manual: the manual that ships with Python, 0.5 MB; offline:brown: the Brown corpus, 5 MB, from a package;
    wikitext103: WikiText-103, whose files are in --manual-dir."""
    unit: Unit = "byte"
    """What is predicted. byte; word: what stands between white space, and line ends; piece: pieces of words of a
    published tokenizer. WikiText-103 is read from its raw release by bytes and pieces, from the other by words."""
    tokenizer: Path | None = None
    """File tokenizer.json of a published tokenizer, for pieces."""
    rarest: Count = 3
    """By words: a word that the training text has less often is unknown. WikiText-103 has replaced them already."""
    max_len: Annotated[Count, HIDDEN] = 512
    """Units T that a model reads; a block has one more."""
    seed: Seed = 0
    """Seed of the order of the documents before they are split; WikiText-103 has its own splits."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.source not in SOURCES or self.unit not in ("byte", "word", "piece"):
            raise ValueError(
                f"a text needs a source among {', '.join(SOURCES)} and a unit byte, word or piece, got "
                f"source={self.source!r}, unit={self.unit!r}; correct the configuration."
            )
        if (self.unit == "piece") != (self.tokenizer is not None):
            raise ValueError(
                f"pieces, and nothing else, need a tokenizer, got unit={self.unit!r} with tokenizer={self.tokenizer}; "
                f"set both, or none."
            )
        if self.rarest != 3 and self.unit != "word":
            raise ValueError(
                f"rare words are those of a text by words, got rarest={self.rarest} with unit={self.unit!r}; drop it."
            )
        if self.max_len < 1 or self.seed < 0 or self.rarest < 1:
            raise ValueError(
                f"a text needs max_len and rarest of 1 or more and a seed of 0 or more, got max_len={self.max_len}, "
                f"rarest={self.rarest}, seed={self.seed}; raise them."
            )

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        names = {
            "python-manual": manual_title(),
            "offline:brown": "Language modeling stand-in (Brown corpus)",
            "wikitext103": "WikiText-103",
        }
        return f"{names[self.source]} by {self.unit}s"

    @property
    def is_stand_in(self) -> bool:
        """Whether the text takes the place of that of the papers."""
        return self.source.startswith("offline:")

    @property
    def floors(self) -> dict[str, float]:
        """No accuracies; `ngram_nats` measures what models without a network pay."""
        return {}

    @property
    def release(self) -> wikitext.Release:
        """The release of WikiText-103 that is read."""
        return "tokens" if self.unit == "word" else "raw"

    def sizes(self) -> dict[str, int]:
        """Return the number of blocks of each split as far as it is known before the text is read: that of none."""
        return {}

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written the arrays already.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of published files. With it, arrays of other published files do not count.
        """
        content = self.content(data_dir, manual_dir) if self.source != "wikitext103" else None
        if content is None:
            content = known_content(functools.partial(self.content, data_dir), manual_dir)
        if content is None:
            return False
        builder = self._builder(content, byte_encoder(), {}, data_dir)
        return arrays.is_prepared(builder, max_len=self.max_len + 1, data_dir=data_dir)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays of blocks; the first call reads or downloads the text.

        Args:
            data_dir: folder of prepared data and downloads.
            manual_dir: folder of the files of WikiText-103, or of the package file.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test. A row has T + 1 ids, and its labels are the bytes and words of the last T.

        Raises:
            FileNotFoundError: the manual folder does not have the files.
            ValueError: the text is damaged or too short, or cannot be downloaded.
        """
        content = self.content(data_dir, manual_dir)
        documents = self.documents(data_dir, manual_dir)
        encoder = self.encoder(documents["train"], data_dir, content)
        builder = self._builder(content, encoder, documents, data_dir)
        if not arrays.is_prepared(builder, max_len=self.max_len + 1, data_dir=data_dir):
            counts = {split: source.count for split, source in documents.items()}
            announce("reading the documents of", self.title, counts)
        return arrays.prepare(builder, max_len=self.max_len + 1, data_dir=data_dir, verify=verify)

    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the hash of what is read and is not pinned otherwise: published files, tokenizer, manual.

        Raises:
            FileNotFoundError: a file is missing.
        """
        hashes, digests = FileHashes(data_dir), []
        if self.source == "python-manual":
            digests.append(manual_hash())
        if self.source == "wikitext103":
            digests.append(wikitext.content_hash(manual_dir, self.release, hashes))
        if self.tokenizer is not None:
            self.check_tokenizer()
            digests.append(hashes.sha256(self.tokenizer))
        return joint_hash(digests) if digests else ""

    def check_tokenizer(self) -> None:
        """Read the file of the tokenizer, if there is one.

        Raises:
            FileNotFoundError: it is no file.
            ValueError: it is no tokenizer.
        """
        if self.tokenizer is None:
            return
        if not self.tokenizer.is_file():
            raise FileNotFoundError(
                f"pieces need the file tokenizer.json of a published tokenizer, got {self.tokenizer}, which is none; "
                f"correct its path."
            )
        piece_encoder(self.tokenizer)

    def documents(self, data_dir: Path, manual_dir: Path | None) -> dict[str, Documents]:
        """Return the documents of every split."""
        if self.source == "wikitext103":
            paths = wikitext.published_files(manual_dir, self.release)
            return {split: self._articles(files, split) for split, files in paths.items()}
        if self.source == "python-manual":
            return self._split(python_manual())
        return self._split(
            brown_corpus(offline.fetch(offline.BROWN, data_dir=data_dir, manual_dir=manual_dir))
        )

    def _articles(self, paths: Sequence[Path], split: str) -> Documents:
        read = functools.partial(wikitext.read_articles, paths, split, self.release)
        return Documents(ARTICLES[split], sum(path.stat().st_size for path in paths), read)

    def _split(self, texts: Sequence[bytes]) -> dict[str, Documents]:
        order = shuffled_order(len(texts), self.seed)
        few = max(1, len(texts) // HELD_OUT)
        parts = {"train": order[2 * few :], "val": order[:few], "test": order[few : 2 * few]}
        chosen = {split: [texts[i] for i in numbers] for split, numbers in parts.items()}
        return {split: _of_texts(documents) for split, documents in chosen.items()}

    def encoder(self, train: Documents, data_dir: Path, content: str) -> Encoder:
        """Return the encoder of the documents; the words of the training text are counted once.

        Args:
            train: the training documents.
            data_dir: folder of prepared data, where the words are saved.
            content: see `content`.
        """
        if self.unit == "byte":
            return byte_encoder()
        if self.tokenizer is not None:
            return piece_encoder(self.tokenizer)
        rarest = 1 if self.source == "wikitext103" else self.rarest
        name = f"{self.source.replace(':', '_')}-{self.seed}-{rarest}-{content}.txt"
        path = data_dir / "vocabularies" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, b"\n".join(frequent_words(train.read(), rarest)))
        return word_encoder(path.read_bytes().split(b"\n"))

    def _builder(
        self, content: str, encoder: Encoder, documents: Mapping[str, Documents], data_dir: Path
    ) -> LanguageBlocks:
        options = {"source": self.source, "unit": self.unit, "seed": self.seed, "content": content}
        options |= {"rarest": self.rarest} if self.unit == "word" else {}
        name = "-".join(map(str, (*options.values(), self.max_len))).replace(":", "_")
        with without_messages():
            return LanguageBlocks(
                config=BlockConfig(name=name, options=options),
                length=self.max_len,
                encoder=encoder,
                documents=documents,
                data_dir=str(data_dir),
                file_format="array_record",
            )


def _of_texts(texts: Sequence[bytes]) -> Documents:
    return Documents(len(texts), sum(map(len, texts)), lambda: texts)
