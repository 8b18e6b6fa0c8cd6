"""Options of the recall tasks: which rows there are, how they are drawn, and where they are prepared."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.data import arrays
from experiments.data.preparation.counter import announce
from experiments.data.preparation.tfds_files import without_messages
from experiments.data.recall.mqar import (
    Filler,
    RecallRows,
    context_length,
    key_ids,
    mqar_rows,
    position_accuracy,
    value_ids,
)
from experiments.data.recall.recall_builder import Recall, RecallFiles
from experiments.data.recall.selective_copy import data_ids, selective_copy_rows
from pid.interface.ranges import Count, Positive, Seed

MAX_VOCABULARY = 255
"""Most symbols: ids are uint8, and 0 is padding."""
ROWS_PER_BLOCK = 1024
"""Rows with one random stream."""
SPLITS = ("train", "val", "test")
FLOOR_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class RecallConfig:
    """A recall task, generated: multi-query associative recall (MQAR), or selective copy.

    Deviations from the published tasks: a vocabulary has at most 255 symbols (published MQAR: 8,192); the rows of
    selective copy are a fixed set, not new ones in every step; its markers are counted in `max_len`. Splits have random
    streams of their own, and rows are not compared, so a repetition is possible, with negligible probability.

    Raises:
        ValueError: the rows do not fit, or an option has no effect on the task.

    Example:
        >>> config = RecallConfig(items=2, max_len=16, vocabulary=12, train=4, val=2, test=2)
        >>> next(config.blocks("test")).tokens.shape
        (2, 16)

    Reference: Arora et al., Zoology, 2023 (MQAR); Gu & Dao, Mamba, 2023 (selective copy).
    """

    task: Literal["mqar", "selective_copy"] = "mqar"
    """mqar: the values of keys that were given; selective_copy: data tokens among noise, in their order."""
    source: Literal["generated"] = "generated"
    """Where the rows come from."""
    vocabulary: Count = MAX_VOCABULARY
    """Symbols without padding; at most 255, because ids are uint8."""
    items: Count = 4
    """Key-value pairs of mqar that are asked for, or data tokens of selective_copy."""
    hops: Literal[1, 2] = 1
    """Pairs of mqar from a key to its value. With 2 the value of a key is the key of a second pair."""
    power: Positive = 0.01
    """Exponent of the power law by which queries of mqar follow the pairs; 1 is uniform."""
    filler: Filler = "blank"
    """Tokens of mqar between the queries: the blank symbol, or random symbols, keys and values among them."""
    max_len: Count = 64
    """Tokens of a row."""
    train: Count = 100_000
    """Training rows."""
    val: Count = 3_000
    """Validation rows."""
    test: Count = 3_000
    """Test rows."""
    seed: Seed = 0
    """Seed of the rows. A smaller split has the first rows of a larger one."""

    def __post_init__(self) -> None:
        """Check that the rows fit, and that every option has an effect."""
        sizes = (self.train, self.val, self.test)
        if self.task not in ("mqar", "selective_copy") or self.source != "generated":
            raise ValueError(
                f"a recall task is mqar or selective_copy and generated, got task={self.task!r}, "
                f"source={self.source!r}; correct them."
            )
        if min(sizes) < 1 or self.seed < 0 or self.items < 1:
            raise ValueError(
                f"a recall task needs sizes and items of 1 or more and a seed of 0 or more, got sizes={sizes}, "
                f"items={self.items}, seed={self.seed}; raise them."
            )
        if not 4 <= self.vocabulary <= MAX_VOCABULARY:
            raise ValueError(
                f"ids are uint8 and 0 is padding, so a vocabulary has 4 to {MAX_VOCABULARY} symbols, got "
                f"vocabulary={self.vocabulary}; change it."
            )
        self._check_mqar() if self.task == "mqar" else self._check_copy()

    def _check_mqar(self) -> None:
        if self.hops not in (1, 2) or self.filler not in ("blank", "random") or not 0 < self.power < np.inf:
            raise ValueError(
                f"mqar needs hops 1 or 2, filler blank or random, and a positive power, got hops={self.hops}, "
                f"filler={self.filler!r}, power={self.power}; correct them."
            )
        keys, values = len(key_ids(self.vocabulary)), len(value_ids(self.vocabulary))
        if self.items * self.hops > keys or self.items > values:
            raise ValueError(
                f"a row has different keys and values, {self.items * self.hops} and {self.items} here, got {keys} and "
                f"{values} symbols for them in vocabulary={self.vocabulary}; raise it or lower items={self.items}."
            )
        if (least := context_length(self.items, self.hops) + 2 * self.items) > self.max_len:
            raise ValueError(
                f"{self.items} items need {least} tokens for their pairs and queries, got max_len={self.max_len}; "
                f"raise it or lower items."
            )

    def _check_copy(self) -> None:
        default = {field.name: field.default for field in dataclasses.fields(self)}
        idle = [name for name in ("hops", "power", "filler") if getattr(self, name) != default[name]]
        if idle:
            raise ValueError(
                f"{', '.join(idle)} belong to mqar, got {getattr(self, idle[0])} for selective_copy; drop them."
            )
        if 2 * self.items > self.max_len:
            raise ValueError(
                f"selective copy needs a token and a marker for each of its {self.items} items, got "
                f"max_len={self.max_len}; raise it or lower items."
            )

    @property
    def title(self) -> str:
        """Name for tables."""
        sizes = f"{self.items} of {self.max_len} tokens"
        if self.task == "selective_copy":
            return f"Selective copy ({sizes})"
        return f"MQAR ({self.items} pairs{', 2 hops' if self.hops > 1 else ''}, {self.max_len} tokens)"

    @property
    def is_stand_in(self) -> bool:
        """Whether the data take the place of a task of the benchmark: they are a task of their own."""
        return False

    @property
    def floors(self) -> dict[str, float]:
        """Accuracies of predictors that recall nothing."""
        if self.task == "selective_copy":
            return {"chance": 1 / len(data_ids(self.vocabulary))}
        position = position_accuracy(
            self._stream("floor", 0),
            FLOOR_ROWS,
            items=self.items,
            max_len=self.max_len,
            hops=self.hops,
            power=self.power,
        )
        return {
            "chance": 1 / len(value_ids(self.vocabulary)),
            "a value of the row": 1 / self.items,
            "position of the query": position,
        }

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of their ids, padding first."""
        if self.task == "selective_copy":
            data = (f"d{number}" for number in range(1, len(data_ids(self.vocabulary)) + 1))
            return ("<pad>", "_", *data, "?")
        keys = (f"k{number}" for number in range(1, len(key_ids(self.vocabulary)) + 1))
        values = (f"v{number}" for number in range(1, len(value_ids(self.vocabulary)) + 1))
        return ("<pad>", "_", *keys, *values)

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def blocks(self, split: str) -> Iterator[RecallRows]:
        """Yield the rows of a split, block by block.

        Args:
            split: train, val or test.

        Yields:
            Rows of at most `ROWS_PER_BLOCK`; a block depends on options, seed, split and its number only.
        """
        size = self.sizes()[split]
        for block in range(-(-size // ROWS_PER_BLOCK)):
            rows = self._draw(self._stream(split, block))
            end = size - block * ROWS_PER_BLOCK
            yield RecallRows(rows.tokens[:end], rows.labels[:end])

    def _stream(self, split: str, block: int) -> np.random.Generator:
        number = (*SPLITS, "floor").index(split)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, number, block))))

    def _draw(self, rng: np.random.Generator) -> RecallRows:
        sizes = {"vocabulary": self.vocabulary, "items": self.items, "max_len": self.max_len}
        if self.task == "selective_copy":
            return selective_copy_rows(rng, ROWS_PER_BLOCK, **sizes)
        return mqar_rows(rng, ROWS_PER_BLOCK, **sizes, hops=self.hops, power=self.power, filler=self.filler)

    def builder(self, data_dir: Path) -> Recall:
        """Return the TFDS builder of the rows, whose files stand in `data_dir`."""
        names = ("task", "vocabulary", "items", "hops", "power", "filler", "max_len", "seed")
        options = {name: getattr(self, name) for name in names}
        if self.task == "selective_copy":
            options = {name: options[name] for name in ("task", "vocabulary", "items", "max_len", "seed")}
        words = [f"{name}{value}" if name != "task" else value for name, value in options.items()]
        name = "-".join((*words, *map(str, self.sizes().values())))
        with without_messages():
            return Recall(
                config=RecallFiles(name=name, options=options, sizes=self.sizes()),
                blocks=self.blocks,
                vocabulary=self.symbols,
                data_dir=str(data_dir),
                file_format="array_record",
            )

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether `prepare` has written the rows already; nothing is read from `manual_dir`."""
        del manual_dir
        return arrays.is_prepared(self.builder(data_dir), max_len=self.max_len, data_dir=data_dir)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits train, val and test; the first call generates them and says so.

        Args:
            data_dir: folder of prepared data.
            manual_dir: not used, because nothing is read.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits, with one label for each token, -1 for a token without one.

        Raises:
            ValueError: a prepared file is damaged or of other options.
        """
        del manual_dir
        builder = self.builder(data_dir)
        if not arrays.is_prepared(builder, max_len=self.max_len, data_dir=data_dir):
            announce("generating", self.title, self.sizes())
        return arrays.prepare(builder, max_len=self.max_len, data_dir=data_dir, verify=verify)
