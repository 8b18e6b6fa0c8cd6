"""Texts with a class, as rows of word pieces or characters: published corpora, stand-ins, installed documentation.

Files in import order:

corpus                   what is known of each corpus: classes, sizes, length of its rows
published_corpora        IMDb, AG News and SST-2, from TFDS or from files of Hugging Face
corpus_stand_ins         film snippets, sentences, news and reviews from packages
installed_documentation  docstrings of the packages that are installed here
vocabularies             word pieces, published or trained on the training split, and characters
token_text               the configuration, and its splits as arrays
bag_of_words             accuracy of logistic regression on word counts, of the same rows
"""

from experiments.data.text.corpora.bag_of_words import bag_of_words
from experiments.data.text.corpora.corpus import CORPORA, Corpus
from experiments.data.text.corpora.token_text import TokenText

__all__ = ["CORPORA", "Corpus", "TokenText", "bag_of_words"]
