"""The tasks: published corpora at the sizes of the official code, their stand-ins, and what is installed here."""

from typing import NamedTuple

from experiments.data.text.corpora import TokenText
from experiments.data.text.corpora.corpus import INSTALLED


class TextTask(NamedTuple):
    """One task."""

    corpus: str
    """Name of its corpus."""
    max_len: int
    """Tokens of a row."""
    source: str | None = None
    """Source of its texts; None: the one of --text.source."""
    characters: bool = False
    """Whether a token is a character."""

    @property
    def is_published(self) -> bool:
        """Whether its texts are those of the paper."""
        return self.source is None


TASKS = {
    "documentation": TextTask("documentation", 64, INSTALLED),
    "snippets": TextTask("sst2", 48, "offline:snippets"),
    "sentences": TextTask("sst2", 48, "offline:sentences"),
    "bbc": TextTask("ag-news", 128, "offline:bbc"),
    "20newsgroups": TextTask("ag-news", 256, "offline:20newsgroups"),
    "polarity": TextTask("imdb", 256, "offline:polarity"),
    "char-polarity": TextTask("imdb", 2048, "offline:polarity", characters=True),
    "imdb": TextTask("imdb", 256),
    "ag-news": TextTask("ag-news", 256),
    "sst2": TextTask("sst2", 128),
    "char-imdb": TextTask("imdb", 2048, characters=True),
}
"""Name -> task, in the order of tables."""
PUBLISHED = tuple(name for name, task in TASKS.items() if task.is_published)
"""The tasks of the paper."""


def text_of(task: str, source: str, tokenizer: str, **options: int | str | None) -> TokenText:
    """Return the configuration of the data of a task.

    Args:
        task: name of the task.
        source: source of published texts.
        tokenizer: "trained" or "published"; characters are never published.
        options: the other fields of `TokenText`; None takes the default of the task.

    Raises:
        ValueError: options do not fit the corpus.
    """
    facts = TASKS[task]
    chosen = {name: value for name, value in options.items() if value is not None}
    fields = {"max_len": facts.max_len, "tokenizer": tokenizer} | chosen
    if facts.characters:
        fields |= {"tokens": "characters", "tokenizer": "trained"}
    if not facts.is_published:
        fields["protocol"] = "held_out"
    return TokenText(facts.corpus, facts.source or source, **fields)  # type: ignore[arg-type]  fields by their names
