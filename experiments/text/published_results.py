"""Accuracies that the paper reports, in percent. None of them was measured here.

[Zhang & Zhou, "Continuous-Time Attention", 2025, Tables 1 and 2 as its repository gives them]
"""

from typing import NamedTuple


class PublishedAccuracy(NamedTuple):
    """The accuracies of one task, of one seed each, selected on the test texts."""

    standard: float
    """Transformer without a PDE."""
    pde: float
    """The same with diffusion, one step."""
    bag_of_words: str
    """Level that logistic regression on word counts is known to reach on these texts, for a first orientation."""


ACCURACIES = {
    "imdb": PublishedAccuracy(59.4, 62.4, "85 to 90"),
    "ag-news": PublishedAccuracy(60.5, 72.1, "about 90"),
    "sst2": PublishedAccuracy(56.6, 76.3, "about 80"),
    "char-imdb": PublishedAccuracy(64.68, 65.44, "85 to 90"),
}
"""Task -> published accuracies."""
NOTE = (
    "published, not measured here: one seed each, and the best epoch was chosen on the test texts; a bag of words does "
    "better than both columns, so these models were trained too little, or on fewer texts"
)
